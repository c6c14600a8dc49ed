"""Connections: uvicorn's HTTP protocol with bounds of its own, and refusals in the one form.

uvicorn bounds neither the size of a request's head nor the time that it may take, and refuses in
plain text. Here a connection that is one too many, or sends too much or too slowly before there
is a request to answer, is told so in JSON and closed.
"""

from asyncio import BaseTransport, Task, TimerHandle, Transport
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson
from starlette.responses import Response
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


_CLOSE = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and what each may take."""

    connections: int
    head_bytes: int  # request line and headers
    head_timeout_s: float
    send_timeout_s: float  # during which a client must take something of its answer


def _nothing() -> None:
    pass


class Door(Protocol):
    """A way for some requests past the application; `takes` says of which, by their head."""

    def takes(self, scope: Any) -> Any:
        """What `answer` is to be given; None for a request of the application's."""

    async def answer(
        self, taken: Any, scope: Any, receive: Any, body: bytes | None
    ) -> Response | None:
        """The whole answer; None when there is nobody to be told. `body` where it has come."""


class BoundedConfig(Config):
    """uvicorn's configuration, for connections with limits; `options` are its own. An application
    with a `state.door` has its requests offered to that first."""

    def __init__(self, app: Any, limits: ConnectionLimits, **options: Any) -> None:
        options = {"ws": "none", "log_config": None, "proxy_headers": False, **options}
        super().__init__(app, http=BoundedProtocol, **options)
        self.limits = limits
        self.door: Door | None = None

    def load(self) -> None:
        """Loads the application."""
        super().load()
        self.door = getattr(getattr(self.loaded_app, "state", None), "door", None)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with the limits of its configuration."""

    config: BoundedConfig

    _head_bytes = 0
    _silent_bytes = 0  # received since the parser last handed something on
    _head_timer: TimerHandle | None = None
    _send_timer: TimerHandle | None = None
    _refused = False
    _task: Task[None] | None = None  # works on the current request

    @property
    def limits(self) -> ConnectionLimits:
        """What the connection may take."""
        return self.config.limits

    def connection_made(self, transport: BaseTransport) -> None:
        """Takes the connection, or refuses it at once."""
        super().connection_made(cast(Transport, transport))
        most = self.limits.connections
        if len(self.connections) > most:
            self._refuse(503, f"server: expected at most {most} connections, got one more")
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waiting, and the work on a request whose client is gone."""
        self._stop_head_timer()
        self._stop_send_timer()
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._task is not None and not self._idle:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless the connection has been refused."""
        if self._refused:
            return
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > self.limits.head_bytes:
            self._refuse_head()
        elif self._head_timer is None and self._idle and self.timeout_keep_alive_task is None:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins; its head must be whole before the time is over."""
        self._head_bytes = 0
        if self._head_timer is None:
            self._expect_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or trailer; 4 bytes more for what separates it."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.limits.head_bytes:
            self._refuse_head()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_head_timer()
        self._silent_bytes = 0
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._silent_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._silent_bytes = 0
        if not self._refused:
            super().on_message_complete()
            if not self.pipeline:  # else a client that leaves after a large body goes unnoticed
                self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        door = self.config.door
        taken = None if door is None else door.takes(cycle.scope)
        if door is None or taken is None:
            work = cycle.run_asgi(app)
        else:
            work = self._through(door, taken, cycle)
        self._task = task = self.loop.create_task(work)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _through(self, door: Door, taken: Any, cycle: RequestResponseCycle) -> None:
        """Answers a request by the door, head and body in one write."""
        body = None if cycle.more_body else bytes(cycle.body)
        response = await door.answer(taken, cycle.scope, cycle.receive, body)
        if response is None or cycle.disconnected:
            return
        if self.flow.write_paused:
            await self.flow.drain()
        headers = [*cycle.default_headers, *response.raw_headers]
        if _CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append(_CLOSE)
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = STATUS_LINE[response.status_code]
        self.transport.write(b"".join([head, *lines, b"\r\n", response.body]))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing  # which held the connection, as uvicorn has it

    def send_400_response(self, msg: str) -> None:
        """What uvicorn says to bytes that are not HTTP."""
        self._refuse(400, "connection: expected an HTTP/1.1 request, got other bytes")

    def pause_writing(self) -> None:
        """The client does not read: it has a while to go on."""
        super().pause_writing()
        timeout = self.limits.send_timeout_s
        self._send_timer = self.loop.call_later(timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        self._stop_send_timer()
        super().resume_writing()

    @property
    def _idle(self) -> bool:
        """Whether no answer is due."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self._too_slow)

    def _too_slow(self) -> None:
        self._head_timer = None
        timeout = self.limits.head_timeout_s
        self._refuse(408, f"request head: expected within {timeout:g} s, got less")

    def _refuse_head(self) -> None:
        most = self.limits.head_bytes
        self._refuse(431, f"request head: expected at most {most} bytes, got more")

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _refuse(self, status: int, sentence: str) -> None:
        """Answers and closes; where an earlier answer is still due, closes after that one."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_head_timer()
        if not self._idle:
            self.cycle.keep_alive = False
            return
        body = orjson.dumps({"error": sentence})
        head = (
            b"content-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
