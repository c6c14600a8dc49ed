"""What a route may ask for: the application's rooms and limits, an answer in JSON."""

from concurrent.futures import Executor
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.control import Control
from service.registry import Registry


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


def json_response(content: object) -> Response:
    """An answer in JSON; NumPy arrays are written as they are, NaN and infinities as null."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")
