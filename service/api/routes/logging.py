"""The logging extension of V2: what is logged, asked and changed while the service runs.

What is changed, is changed in the process that answers: of several workers, in one.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api import operation_schemas as schemas
from service.api.bodies import parse_json, read_body
from service.api.dependencies import Context, context_of, json_response
from service.api.elements import json_kind
from service.api.routing import documented, json_body
from service.errors import InvalidRequest, NotReady, shorten
from service.logs import Log

router = APIRouter(tags=["Logging"])

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
    response_model=None,
    responses=documented(schemas.LogSettings, "All settings.", 503),
)
async def log_settings(request: Request) -> Response:
    """All settings of the log."""
    return _settings(_log_of(context_of(request)))


@router.post(
    "/v2/logging",
    summary="Change what is logged",
    response_model=None,
    responses=documented(schemas.LogSettings, "All settings.", 400, 403, 413, 503),
    openapi_extra=json_body(schemas.LogSettingsRequest),
)
async def change_log_settings(request: Request) -> Response:
    """Changes the settings that are given, from the next event on; the file cannot be changed."""
    context = context_of(request)
    log = _log_of(context)
    log.change(**_checked(parse_json(await read_body(request), context.limits.json)))
    return _settings(log)


def _settings(log: Log) -> Response:
    return json_response({"log_file": "", **asdict(log.settings)})


def _log_of(context: Context) -> Log:
    if context.log is None:
        raise NotReady("log: expected the service's own, but it belongs to who runs this process")
    return context.log


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
