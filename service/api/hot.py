"""The way of inference past the framework: the same answers for a fraction of the work.

What the framework does for each request (a stack of middleware, matching every route, two messages
for each answer) costs several times what a small network does. So the connection offers each
request to this door first. It takes `POST …/infer`, with the doorkeeper, the steps and the errors
that the documented route has too; anything else goes on as it came.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Mapping

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from service.api.bodies import read_body
from service.api.dependencies import Context
from service.api.errors import answer_to, internal_error
from service.api.gate import CLIENT_LEFT, Doorkeeper, tags
from service.api.inference import Quick, infer
from service.api.shortcut import ENCODED, OK, Shortcut
from service.errors import FoldserveError, shorten

logger = logging.getLogger(__name__)

_INFER = re.compile(rb"/v2/models/([^/?%]+)(?:/versions/([^/?%]+))?/infer")
_CROSS_ORIGIN = b"origin"  # what browsers send is for the framework's middleware


class HotDoor:
    """Answers inference itself. `context` is the application's, as long as it serves."""

    def __init__(self, app: FastAPI, doorkeeper: Doorkeeper) -> None:
        self.context: Context | None = None
        self.shortcut = Shortcut(self)
        self.doorkeeper, self.quick = doorkeeper, Quick()
        self._app = app

    def takes(self, scope: Scope) -> re.Match[bytes] | None:
        """Whether the request, whose head is whole, comes in here: what `answer` needs to know."""
        match = _INFER.fullmatch(scope["raw_path"])
        if match is None or scope["method"] != "POST" or scope["query_string"]:
            return None
        if self.context is None or any(name == _CROSS_ORIGIN for name, _ in scope["headers"]):
            return None
        return match

    async def answer(
        self,
        match: re.Match[bytes],
        scope: Scope,
        receive: Receive,
        body: bytes | None,
        head: bytes = b"",
    ) -> Response | None:
        """The whole answer; None when the client has left. `body` where it is whole already; `head`
        where the next request with the same may take the shortcut."""
        started = time.perf_counter()
        request_id, headers, refusal = self.doorkeeper.admit(scope)
        work = self._infer(match, scope, receive, headers, body, refusal)
        response = await self.settle(work, scope, request_id, started)
        if head and response is not None and response.status_code == OK:
            self.shortcut.learn(head, *_place(match), scope)
        return response

    async def settle(
        self, work: Awaitable[Response], scope: Scope, request_id: bytes, started: float
    ) -> Response | None:
        """What comes of the work, counted and logged: its answer, or that to its error; None when
        the client has left."""
        assert self.context is not None
        response: Response | None = None
        try:
            response = await work
        except FoldserveError as error:
            response = answer_to(error, scope)
        except (asyncio.CancelledError, ClientDisconnect):
            logger.debug("%s %s: the client left", scope["method"], shorten(scope["path"]))
        except Exception as error:
            response = internal_error(error, scope)
        status = CLIENT_LEFT if response is None else response.status_code
        if response is not None:
            self.context.control.responses[status] += 1
            response.raw_headers += tags(request_id)
        self.doorkeeper.log(scope, status, started)
        return response

    async def _infer(
        self,
        match: re.Match[bytes],
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        body: bytes | None,
        refusal: FoldserveError | None,
    ) -> Response:
        assert self.context is not None
        if refusal is not None:
            raise refusal
        model = self.context.registry.get(*_place(match))
        if body is None or ENCODED in headers or len(body) > self.context.limits.body_bytes:
            scope["app"] = self._app
            body = await read_body(Request(scope, receive))
        return await infer(self.context, model, headers, scope["state"], body, self.quick)


def _place(match: re.Match[bytes]) -> tuple[str, str | None]:
    return match[1].decode(), match[2].decode() if match[2] else None
