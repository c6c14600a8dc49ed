"""What a route may ask for: the application's rooms and limits, the body, an answer in JSON."""

from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.control import Control
from service.errors import InvalidRequest, TooLarge
from service.registry import Registry


@dataclass(frozen=True, slots=True)
class Context:
    """What the application owns. `executor` takes work that would hold up the event loop."""

    registry: Registry
    executor: Executor
    max_body_bytes: int
    max_image_pixels: int
    control: Control


def context_of(request: Request) -> Context:
    """The context of the application that received the request."""
    context: Context = request.app.state.context
    return context


def json_response(content: object) -> Response:
    """An answer in JSON; NumPy arrays are written as they are, NaN and infinities as null."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


def parse_json(raw: bytes) -> object:
    """The JSON of a request body; InvalidRequest otherwise, or when nested too deeply."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"request body: expected JSON, got {error}") from None


async def read_body(request: Request) -> bytes:
    """The whole body; TooLarge as soon as it is known to exceed the limit."""
    return b"".join([chunk async for chunk in limited_stream(request)])


async def limited_stream(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it arrives; TooLarge as soon as it is known to exceed the limit."""
    limit = context_of(request).max_body_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(int(announced), limit)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        _check_size(received, limit)
        yield chunk


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"request body: expected at most {limit} bytes, got {size} or more")
