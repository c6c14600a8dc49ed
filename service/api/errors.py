"""From exceptions to answers: the one table of status codes, and the one form of an error.

The body is always `{"error": "<one sentence>"}` with exactly `Content-Type: application/json`:
V2 clients read nothing else.
"""

import logging
import math
import secrets
from collections.abc import Mapping

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    DeadlinePassed,
    FoldserveError,
    InferenceFailed,
    InvalidRequest,
    LoadFailed,
    NotFound,
    NotReady,
    QueueFull,
    Stopping,
    TooLarge,
    UnsupportedType,
    shorten,
)

logger = logging.getLogger(__name__)

# The nearest class of an exception decides.
STATUS: dict[type[Exception], int] = {
    InvalidRequest: 400,
    NotFound: 404,
    LoadFailed: 409,
    TooLarge: 413,
    UnsupportedType: 415,
    QueueFull: 429,
    InferenceFailed: 500,
    FoldserveError: 500,
    NotReady: 503,
    Stopping: 503,
    DeadlinePassed: 504,
}


def error_response(
    status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The one form of an error."""
    body = orjson.dumps({"error": sentence})
    return Response(body, status, media_type="application/json", headers=headers)


def install(app: FastAPI) -> None:
    """Makes every error of the application an answer of that form."""
    app.add_exception_handler(FoldserveError, _foldserve_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_middleware(CatchAll)


class CatchAll:
    """Answers 500 to what nothing else has caught; the log has the traceback, by the same id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on; steps in when an exception comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                scope["app"].state.context.control.responses[message["status"]] += 1
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            logger.debug("%s %s: the client left", scope["method"], shorten(scope["path"]))
        except Exception:
            error_id = secrets.token_hex(4)
            logger.exception(
                "internal error %s in %s %s", error_id, scope["method"], shorten(scope["path"])
            )
            if not started:
                answer = error_response(500, f"internal error, logged as {error_id}")
                await answer(scope, receive, watched)


async def _foldserve_error(_: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    if status == STATUS[InferenceFailed]:
        logger.error("%s", error)
    headers = (
        {"Retry-After": str(math.ceil(error.retry_after_s))}
        if isinstance(error, QueueFull)
        else None
    )
    return error_response(status, str(error), headers)


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, shorten(error.detail, 200), error.headers)


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    return error_response(400, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
