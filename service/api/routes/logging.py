"""The logging extension of V2: what is logged, asked and changed while the service runs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.bodies import parse_json, read_body
from service.api.dependencies import context_of, json_response
from service.api.elements import json_kind
from service.api.routing import Router, documented, json_body
from service.errors import InvalidRequest, shorten
from service.logs import LogSettings

router = Router("Logging")

_FORMATS = ("default", "ISO8601")
_Check = tuple[str, Callable[[object], bool]]
_BOOLEAN: _Check = ("a boolean", lambda value: isinstance(value, bool))
_CHECKS: Mapping[str, _Check] = {
    "log_info": _BOOLEAN,
    "log_warning": _BOOLEAN,
    "log_error": _BOOLEAN,
    "log_verbose_level": (
        "an integer of 0 or more",
        lambda value: type(value) is int and 0 <= value < 2**31,
    ),
    "log_format": (f"one of {', '.join(_FORMATS)}", lambda value: value in _FORMATS),
}


@router.get(
    "/v2/logging",
    summary="What is logged",
    responses=documented("LogSettings", "All settings.", 503),
)
async def log_settings(request: Request) -> Response:
    """All settings of the log."""
    return _answer(context_of(request).control.log_settings)


@router.post(
    "/v2/logging",
    summary="Change what is logged",
    responses=documented("LogSettings", "All settings.", 400, 403, 413, 503),
    extra=json_body("LogSettingsRequest"),
)
async def change_log_settings(request: Request) -> Response:
    """Changes the settings that are given, from the next event on; the file cannot be changed."""
    context = context_of(request)
    change = _checked(parse_json(await read_body(request), context.limits.json))
    return _answer(await context.control.change_log(change))


def _answer(settings: LogSettings) -> Response:
    return json_response({"log_file": "", **asdict(settings)})


def _checked(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidRequest(f"request body: expected an object, got {json_kind(document)}")
    for key, value in document.items():
        if key == "log_file":
            raise InvalidRequest("'log_file': the log goes to standard error, and to no file")
        if key not in _CHECKS:
            raise InvalidRequest(
                f"request body: expected settings of {', '.join(_CHECKS)}; got '{shorten(key)}'"
            )
        words, holds = _CHECKS[key]
        if not holds(value):
            raise InvalidRequest(f"'{key}': expected {words}, got {shorten(value)}")
    return document
