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
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    DeadlinePassed,
    FoldserveError,
    Forbidden,
    InferenceFailed,
    InvalidRequest,
    KeyMissing,
    LoadFailed,
    NotFound,
    NotReady,
    NotSupported,
    QueueFull,
    Stopping,
    TooLarge,
    TooSlow,
    UnsupportedEncoding,
    UnsupportedType,
    shorten,
)

logger = logging.getLogger(__name__)

# The nearest class of an exception decides.
STATUS: dict[type[Exception], int] = {
    InvalidRequest: 400,
    KeyMissing: 401,
    Forbidden: 403,
    NotFound: 404,
    TooSlow: 408,
    LoadFailed: 409,
    TooLarge: 413,
    UnsupportedType: 415,
    UnsupportedEncoding: 415,
    QueueFull: 429,
    InferenceFailed: 500,
    FoldserveError: 500,
    NotSupported: 501,
    NotReady: 503,
    Stopping: 503,
    DeadlinePassed: 504,
}


# What a client needs beside the sentence, by the nearest class.
_HEADERS: dict[type[Exception], dict[str, str]] = {
    KeyMissing: {"WWW-Authenticate": 'Bearer, Basic realm="foldserve"'},
    TooSlow: {"Connection": "close"},
    UnsupportedEncoding: {"Accept-Encoding": "gzip, deflate"},
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
        except Exception as error:
            answer = internal_error(error, scope)
            if not started:
                await answer(scope, receive, watched)


def internal_error(error: Exception, scope: Scope) -> Response:
    """Logs what nothing else has caught; its answer names it by the id in the log."""
    error_id = secrets.token_hex(4)
    where = (error_id, scope["method"], shorten(scope["path"]))
    logger.error("internal error %s in %s %s", *where, exc_info=error)
    return error_response(500, _named(scope, f"internal error, logged as {error_id}"))


def status_of(error: FoldserveError) -> int:
    """The status code of HTTP for this error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer_to(error: FoldserveError, scope: Scope) -> Response:
    """The answer to a request that failed with this error."""
    kinds, status = type(error).__mro__, status_of(error)
    headers = next((_HEADERS[kind] for kind in kinds if kind in _HEADERS), None)
    if isinstance(error, KeyMissing) and (b"sec-fetch-dest", b"empty") in scope["headers"]:
        headers = {"WWW-Authenticate": "Bearer"}  # a page's script asks: no dialogue of the browser
    if status == STATUS[InferenceFailed]:
        logger.error("%s", error)
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
    return error_response(status, _named(scope, str(error)), headers)


def _named(scope: Scope, sentence: str) -> str:
    """The sentence, led by the id that the client gave the request, if it gave one."""
    given = scope.get("state", {}).get("given_id")
    return f"[request id: {given}] {sentence}" if given else sentence


async def _foldserve_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FoldserveError)
    return answer_to(error, request.scope)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = _named(request.scope, shorten(error.detail, 200))
    return error_response(error.status_code, sentence, error.headers)
