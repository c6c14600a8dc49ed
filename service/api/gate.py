"""The outermost door of the application: request ids, keys, headers of every answer, access log.

Plain ASGI around everything else, so that no route and no error can be without it.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.api.errors import answer_to
from service.api.guard import Guard
from service.errors import FoldserveError, shorten

logger = logging.getLogger(__name__)
access = logging.getLogger(logs.ACCESS)

REQUEST_ID = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._:/+=@#-]{1,128}")
CLIENT_LEFT = 499  # what logs call it; nobody is left to be told
_COMMON = [(b"x-content-type-options", b"nosniff")]


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What is done for every request, whichever way it takes."""

    guard: Guard
    access_log: bool

    def admit(self, scope: Scope) -> tuple[bytes, Mapping[bytes, bytes], FoldserveError | None]:
        """Names the request, in the log too: its id; its headers; and why it may not pass, if it
        may not."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = headers.get(REQUEST_ID, b"")
        given = _ID.fullmatch(request_id) is not None
        if not given:
            request_id = fresh_id()
        name = request_id.decode()
        logs.request_id.set(name)
        scope.setdefault("state", {})["given_id"] = name if given else None
        return request_id, headers, self.guard.refusal(scope["method"], scope["path"], headers)

    def log(self, scope: Scope, status: int, started: float) -> None:
        """One line of the access log, where there is one; `started` by `time.perf_counter`."""
        if self.access_log:
            _log(scope, status, time.perf_counter() - started)


class Gate:
    """Lets a request in, or answers why not."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self.app = app
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not HTTP; names, checks, tags and logs what is."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()
        request_id, _, refusal = self._doorkeeper.admit(scope)

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *tags(request_id)]
            await send(message)

        app = self.app if refusal is None else answer_to(refusal, scope)
        try:
            await app(scope, receive, tagged)
        except asyncio.CancelledError:  # the client left, or the server ends in spite of it
            status = status or CLIENT_LEFT
            logger.debug("%s %s: the client left", scope["method"], shorten(scope["path"]))
        self._doorkeeper.log(scope, status, started)


def tags(request_id: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that every answer has."""
    return [(REQUEST_ID, request_id), *_COMMON]


def _count_ids() -> Iterator[bytes]:
    """Ids that no other process and no other start of this one gives: a random part, and a count.

    To ask the kernel for random bytes at every request would cost more than all else here.
    """
    while True:
        first = secrets.token_hex(5).encode()
        for number in range(2**24):
            yield b"%b%06x" % (first, number)


fresh_id = _count_ids().__next__


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
