"""What a route may ask for: the application's rooms and limits, an answer in JSON."""

from concurrent.futures import Executor
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.control import Control
from service.registry import Registry

JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How much JSON is parsed: `depth` of nesting, number of `values` of any kind."""

    depth: int = 100
    values: int = 8_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost."""

    body_bytes: int
    body_timeout_s: float
    image_pixels: int
    json: JsonLimits


@dataclass(frozen=True, slots=True)
class Context:
    """What the application owns. `executor` takes work that would hold up the event loop."""

    registry: Registry
    executor: Executor
    limits: Limits
    control: Control


def context_of(request: Request) -> Context:
    """The context of the application that received the request."""
    context: Context = request.app.state.context
    return context


class Answer(Response):
    """An answer that is there as bytes, with headers as they go over the wire: 200.

    What it lacks of a Response, such as looking through headers for a length, is what costs.
    """

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.body, self.status_code, self.background = body, 200, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]


def json_response(content: object) -> Response:
    """An answer in JSON; NumPy arrays are written as they are, NaN and infinities as null."""
    return Answer(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), JSON)
