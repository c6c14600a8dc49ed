"""The outermost door of the application: request ids, keys, headers of every answer, access log.

Plain ASGI around everything else, so that no route and no error can be without it.
"""

import asyncio
import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.api.errors import answer_to
from service.api.guard import Guard
from service.errors import shorten

logger = logging.getLogger(__name__)
access = logging.getLogger(logs.ACCESS)

REQUEST_ID = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._:/+=@#-]{1,128}")
_CLIENT_LEFT = 499  # what logs call it; nobody is left to be told
_COMMON = [(b"x-content-type-options", b"nosniff")]


class Gate:
    """Lets a request in, or answers why not."""

    def __init__(self, app: ASGIApp, guard: Guard, access_log: bool) -> None:
        self.app = app
        self._guard = guard
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not HTTP; names, checks, tags and logs what is."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        sent = headers.get(REQUEST_ID, b"")
        given = _ID.fullmatch(sent) is not None
        request_id = sent if given else secrets.token_hex(8).encode()
        logs.request_id.set(request_id.decode())
        scope.setdefault("state", {})["given_id"] = request_id.decode() if given else None
        status, started = 0, time.perf_counter()

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id), *_COMMON]
            await send(message)

        refusal = self._guard.refusal(scope["method"], scope["path"], headers)
        app = self.app if refusal is None else answer_to(refusal, scope)
        try:
            await app(scope, receive, tagged)
        except asyncio.CancelledError:  # the client left, or the server ends in spite of it
            status = status or _CLIENT_LEFT
            logger.debug("%s %s: the client left", scope["method"], shorten(scope["path"]))
        if self._access_log:
            _log(scope, status, time.perf_counter() - started)


def _log(scope: Scope, status: int, seconds: float) -> None:
    client = scope.get("client")
    fields = {
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "client": client[0] if client else None,
    }
    access.info(
        "%(method)s %(path)r %(status)d %(duration_ms).3f ms %(client)s",
        fields,
        extra={"fields": fields},
    )
