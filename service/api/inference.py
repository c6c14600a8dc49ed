"""Inference from the bytes of a body to those of an answer; what both ways to it share."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.responses import Response

from service.api.answers import COMPRESSED_FROM, accepted_encoding, compress, encode
from service.api.codec import LENGTH_HEADER, decode, read_message
from service.api.dependencies import Context
from service.api.heads import Heads
from service.api.nonfinite import count_nonfinite, find_nonfinite
from service.errors import shorten
from service.model import Model

_LENGTH = LENGTH_HEADER.lower().encode()
_ACCEPTED = b"accept-encoding"


async def infer(
    context: Context,
    model: Model,
    headers: Mapping[bytes, bytes],
    state: MutableMapping[str, Any],
    body: bytes,
    heads: Heads | None = None,
) -> Response:
    """The answer of a model to a V2 request; `state` is that of the request's scope.

    Tensors go both ways as JSON or as binary data after the JSON. `heads` are those that were
    valid before.
    """
    length = headers.get(_LENGTH)
    asked = heads.decode(model, body, length) if heads else None
    if asked is None:
        given = None if length is None else length.decode("latin-1")
        message = read_message(body, given, context.limits.json)
        if message.id is not None and state.get("given_id") is None:
            state["given_id"] = shorten(message.id, 128)  # leads every refusal
        asked = decode(message, model.inputs, model.outputs)
        if heads and length is not None:
            heads.keep(model, body, message, asked)
    outputs = await model.predict(asked.inputs, priority=asked.priority, timeout_s=asked.timeout_s)
    wanted = [outputs[output.name] for output in asked.outputs]
    nonfinite = None
    if count_nonfinite(wanted):
        nonfinite = await find_nonfinite(context, model, asked.inputs, wanted)
    answer = encode(model, asked, outputs, nonfinite)
    if (accepted := headers.get(_ACCEPTED)) is not None:
        await _compress(context, answer, accepted.decode("latin-1"))
    return answer


async def _compress(context: Context, answer: Response, header: str) -> None:
    """In a thread, where there is anything to win."""
    answer.headers["vary"] = "Accept-Encoding"
    encoding = accepted_encoding(header)
    if encoding is not None and len(answer.body) >= COMPRESSED_FROM:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(context.executor, compress, answer, encoding)
