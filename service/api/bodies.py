"""The body of a request: read within limits of size and time, uncompressed, parsed within limits.

Every way in is bounded: bytes on the wire, bytes after decompression, seconds, the depth of JSON
and the number of values in it. A short text can hold very many small values, each of which costs
memory of its own, so counting bytes alone would not bound what a request costs.
"""

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator

import numpy as np
import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from service.api.dependencies import JsonLimits, Limits, context_of
from service.api.numbers import NumbersParser
from service.errors import InvalidRequest, TooLarge, TooSlow, UnsupportedEncoding, shorten

# Window bits for zlib: gzip's own header, and zlib's, which HTTP calls deflate (RFC 9110, 8.4.1).
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_INLINE_BYTES = 2**16  # what is larger is uncompressed in a thread, beside the event loop
# Ends at the end of the text, too: what fails to match would be tried again from every quote.
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


async def read_body(request: Request) -> bytes:
    """The whole body, uncompressed; TooLarge or TooSlow as soon as it is known to be so."""
    context, encoding = context_of(request), _encoding(request.headers)
    raw = await _whole(request, context.limits)
    if encoding is None:
        return raw
    limit = context.limits.body_bytes
    if len(raw) <= _INLINE_BYTES:
        return uncompress(raw, encoding, limit)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(context.executor, uncompress, raw, encoding, limit)


async def _whole(request: Request, limits: Limits) -> bytes:
    """What limited_stream gives; most bodies come in one piece, which costs one timer."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(int(announced[:20]), limits)
    chunks: list[bytes] = []
    received, more = 0, True
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunks.append(message.get("body", b""))
                more = message.get("more_body", False)
                received += len(chunks[-1])
                _check_size(received, limits)
    except TimeoutError:
        raise _too_slow(limits, received) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def limited_stream(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, within the limits of size and time."""
    limits = context_of(request).limits
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(int(announced[:20]), limits)
    received = 0
    chunks = request.stream()
    deadline = asyncio.get_running_loop().time() + limits.body_timeout_s
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise _too_slow(limits, received) from None
        if chunk is None:
            return
        received += len(chunk)
        _check_size(received, limits)
        yield chunk


def _too_slow(limits: Limits, received: int) -> TooSlow:
    return TooSlow(
        f"request body: expected all of it within {limits.body_timeout_s:g} s, got {received} bytes"
    )


def uncompress(raw: bytes, encoding: str, limit: int) -> bytes:
    """What `raw` holds; never makes more than `limit` bytes of it."""
    found: list[bytes] = []
    size, rest = 0, raw
    while rest or not found:
        unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
        try:
            part = unpacker.decompress(rest, limit - size + 1)
        except zlib.error as error:
            raise InvalidRequest(f"request body: expected {encoding}, got {error}") from None
        size += len(part)
        if size > limit:
            raise TooLarge(
                f"request body: expected at most {limit} bytes, got more after {encoding} "
                f"was undone ({len(raw)} bytes before)"
            )
        if not unpacker.eof:
            raise InvalidRequest(f"request body: expected whole {encoding}, got a truncated one")
        found.append(part)
        rest = unpacker.unused_data  # gzip may have several members, one after the other
    return b"".join(found)


def parse_json(raw: bytes, limits: JsonLimits, numbers: NumbersParser | None = None) -> object:
    """The JSON of a request body; InvalidRequest for any other, TooLarge above the limits.

    With `numbers`, the flat `data` of inputs is left as Numbers where that can be.
    """
    check_json_size(raw, limits)
    if numbers is not None and (request := numbers.parse(raw)) is not None:
        return request
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"request body: expected JSON, got {error}") from None


def check_json_size(raw: bytes, limits: JsonLimits) -> None:
    """Raises TooLarge for too many values, InvalidRequest for too deep a nesting: unparsed.

    Commas and opening brackets are counted where they stand, also inside strings: the count is
    never too low, and costs a tenth of the parsing.
    """
    opened = raw.count(b"[") + raw.count(b"{")
    # A text of n bytes holds no more than n commas and brackets.
    values = opened + raw.count(b",") if len(raw) > limits.values else 0
    if values > limits.values:
        raise TooLarge(
            f"request body: expected JSON of at most {limits.values} values, got {values}; "
            "binary tensors have no such limit"
        )
    if opened > limits.depth and (depth := _depth(raw)) > limits.depth:
        raise InvalidRequest(
            f"request body: expected JSON nested at most {limits.depth} deep, got {depth}"
        )


def _depth(raw: bytes) -> int:
    """The deepest nesting of brackets outside of strings."""
    if b'"' in raw:
        raw = _STRING.sub(b"", raw)
    brackets = np.frombuffer(raw.translate(None, _NOT_BRACKETS), np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1), dtype=np.int64).max(initial=0))


def _encoding(headers: Headers) -> str | None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in _WINDOW_BITS:
        raise UnsupportedEncoding(
            f"header Content-Encoding: expected gzip or deflate, got '{shorten(encoding)}'"
        )
    return encoding


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.body_bytes:
        raise TooLarge(
            f"request body: expected at most {limits.body_bytes} bytes, got {size} or more"
        )
