"""Inference from the bytes of a body to those of an answer; what both ways to it share."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.responses import Response

from service.api.answers import COMPRESSED_FROM, accepted_encoding, compress, encode
from service.api.codec import LENGTH_HEADER, InferRequest, Message, decode, read_message
from service.api.dependencies import Context
from service.api.frames import Frames
from service.api.heads import Heads
from service.api.nonfinite import count_all_nonfinite, find_nonfinite
from service.api.numbers import NumbersParser
from service.errors import shorten
from service.model import Model
from service.tensors import Array

_LENGTH = LENGTH_HEADER.lower().encode()
_ACCEPTED = b"accept-encoding"
_VARY = (b"vary", b"Accept-Encoding")


class Quick:
    """What shortens the way of the usual requests; one is enough for an event loop."""

    def __init__(self) -> None:
        self.numbers = NumbersParser()
        self._heads, self._frames = Heads(), Frames(self.numbers)

    def decode(self, model: Model, body: bytes, length: bytes | None) -> InferRequest | None:
        """A request like one before, but for its tensors; None where it is not, or wrong."""
        if length is None:
            return self._frames.decode(model, body)
        return self._heads.decode(model, body, length)

    def keep(self, model: Model, body: bytes, message: Message, asked: InferRequest) -> None:
        """Remembers what surrounded the tensors of a valid request."""
        if message.binary:
            self._heads.keep(model, body, message, asked)
        elif message.document is not None and message.fault is None:
            self._frames.keep(model, body, asked)


async def infer(
    context: Context,
    model: Model,
    headers: Mapping[bytes, bytes],
    state: MutableMapping[str, Any],
    body: bytes,
    quick: Quick | None = None,
) -> Response:
    """The answer of a model to a V2 request; `state` is that of the request's scope.

    Tensors go both ways as JSON or as binary data after the JSON.
    """
    asked = read(context, model, headers, state, body, quick)
    outputs = await model.predict(asked.inputs, priority=asked.priority, timeout_s=asked.timeout_s)
    return await respond(context, model, headers, asked, outputs)


def read(
    context: Context,
    model: Model,
    headers: Mapping[bytes, bytes],
    state: MutableMapping[str, Any],
    body: bytes,
    quick: Quick | None = None,
) -> InferRequest:
    """The request in a body; InvalidRequest. Nothing of what was parsed is left when this returns,
    so that the parser may be used again."""
    length = headers.get(_LENGTH)
    if quick and (asked := quick.decode(model, body, length)) is not None:
        return asked
    given = None if length is None else length.decode("latin-1")
    message = read_message(body, given, context.limits.json, quick.numbers if quick else None)
    if message.id is not None and state.get("given_id") is None:
        state["given_id"] = shorten(message.id, 128)  # leads every refusal
    asked = decode(message, model.inputs, model.outputs)
    if quick:
        quick.keep(model, body, message, asked)
    return asked


async def respond(
    context: Context,
    model: Model,
    headers: Mapping[bytes, bytes],
    asked: InferRequest,
    outputs: Mapping[str, Array],
) -> Response:
    """The answer, with the layer in which a NaN began, and compressed where the client wants it."""
    wanted = [outputs[output.name] for output in asked.outputs]
    nonfinite = None
    if count_all_nonfinite(wanted):
        nonfinite = await find_nonfinite(context, model, asked.inputs, wanted)
    answer = encode(model, asked, outputs, nonfinite)
    if (accepted := headers.get(_ACCEPTED)) is not None:
        await _compress(context, answer, accepted.decode("latin-1"))
    return answer


def respond_at_once(
    model: Model,
    headers: Mapping[bytes, bytes],
    asked: InferRequest,
    outputs: Mapping[str, Array],
) -> Response | None:
    """The same where nothing needs to be waited for; else None."""
    if count_all_nonfinite(outputs[output.name] for output in asked.outputs):
        return None
    answer = encode(model, asked, outputs)
    if _ACCEPTED in headers:
        if len(answer.body) >= COMPRESSED_FROM:
            return None
        answer.raw_headers.append(_VARY)
    return answer


async def _compress(context: Context, answer: Response, header: str) -> None:
    """In a thread, where there is anything to win."""
    answer.raw_headers.append(_VARY)
    encoding = accepted_encoding(header)
    if encoding is not None and len(answer.body) >= COMPRESSED_FROM:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(context.executor, compress, answer, encoding)
