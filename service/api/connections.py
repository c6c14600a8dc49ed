"""Connections that offer their requests to quicker ways before the application.

A request that the door takes is one task and one write. One whose head came before, byte for byte,
and whose body has come, takes the shortcut: neither parser nor task, a call and a write.
"""

import math
from asyncio import TimerHandle
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.api.bounds import BoundedProtocol, ConnectionLimits

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

Headers = list[tuple[bytes, bytes]]

_CLOSE = (b"connection", b"close")
_END = b"\r\n\r\n"  # of a head
_MOST_HELD = 2**20  # bytes of a request that waits for the rest of its body beside the parser
_HOLD_S = 1.0  # then the parser gets it, and its own limits of time


class Ride(Protocol):
    """A request on the shortcut."""

    def leave(self) -> None:
        """Its client is gone."""


class Shortcut(Protocol):
    """Answers requests whose head came before, without a task."""

    def length(self, head: bytes) -> int | None:
        """Bytes of the body that follows a head; None for a head that is not known."""

    def take(self, head: bytes, body: bytes, connection: "Connection") -> Ride | None:
        """Begins to answer: calls `connection.answer` or `answer_later`, at once or later, once.
        None where the request is to go the longer way."""


class Door(Protocol):
    """A way for some requests past the application; `takes` says of which, by their head."""

    shortcut: Shortcut

    def takes(self, scope: Any) -> Any:
        """What `answer` is to be given; None for a request of the application's."""

    async def answer(
        self, taken: Any, scope: Any, receive: Any, body: bytes | None, head: bytes
    ) -> Response | None:
        """The whole answer; None when there is nobody to be told. `body` where it has come, and
        the `head` as it came where it may take the shortcut next time; else empty."""


def _nothing() -> None:
    pass


class BoundedConfig(Config):
    """uvicorn's configuration, for connections with limits; `options` are its own. An application
    with a `state.door` has its requests offered to that first."""

    def __init__(self, app: Any, limits: ConnectionLimits, **options: Any) -> None:
        options = {"ws": "none", "log_config": None, "proxy_headers": False, **options}
        super().__init__(app, http=Connection, **options)
        self.limits = limits
        self.door: Door | None = None

    def load(self) -> None:
        """Loads the application."""
        super().load()
        self.door = getattr(getattr(self.loaded_app, "state", None), "door", None)


class Connection(BoundedProtocol):
    """One connection, with the limits and the door of its configuration."""

    config: BoundedConfig

    _between = True  # nothing of a request has been given to the parser
    _head = b""  # of the request that the parser is given next, as it came
    _held: list[bytes]  # a request whose body is not whole
    _missing = 0  # bytes of it
    _hold_timer: TimerHandle | None = None
    _ride: Ride | None = None
    _ahead = b""  # came while a request was on the shortcut
    _last = False  # the server stops: the next answer is the last
    _quiet_since = -math.inf  # by the loop's clock, since the last answer of the shortcut

    def __init__(self, config: BoundedConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.limits = config.limits
        self._held = []

    def data_received(self, data: bytes) -> None:
        """Offers what may be a request to the shortcut, before the parser."""
        if self._held:
            self._hold(data)
        elif self._ride is not None:
            self._ahead += data
            self.flow.pause_reading()
        elif not (self._between and self._idle and self._take_shortcut(data)):
            super().data_received(data)
            self._head = b""

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._between = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what is done for a client that is gone."""
        self._take_held()
        if self._ride is not None:
            self._ride.leave()
            self._ride, self._ahead = None, b""
            if self._task is not None:
                self._task.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: a request that has begun is answered."""
        self._last = True
        if self._held:
            super().data_received(self._take_held())
        if self._ride is None:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """One timer for any number of requests on the shortcut: it looks when the last was."""
        self.timeout_keep_alive_task = None
        left_s = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if self._ride is not None or self._held:
            left_s = self.timeout_keep_alive
        if left_s > 0:
            self._keep_alive(left_s)
        else:
            super().timeout_keep_alive_handler()

    def answer(self, response: Response) -> None:
        """The answer to the request on the shortcut."""
        self._ride = None
        if self.transport.is_closing():
            return
        self._write(response, self.server_state.default_headers, keep=not self._last)
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._keep_alive(self.timeout_keep_alive)
        if self._ahead:
            self.loop.call_soon(self._go_on)

    def answer_later(self, work: Coroutine[Any, Any, Response | None]) -> None:
        """The answer to the request on the shortcut takes a task."""
        self._work(self._answer_from(work))

    async def _answer_from(self, work: Awaitable[Response | None]) -> None:
        response = await work
        if self.flow.write_paused:
            await self.flow.drain()
        if response is not None:
            self.answer(response)

    def _take_shortcut(self, data: bytes) -> bool:
        """Whether a request is as good as answered, or held until its body is whole."""
        door, end = self.config.door, data.find(_END) + len(_END)
        if door is None or end < len(_END) or self._refused or self.transport.is_closing():
            return False
        head = data[:end]
        length = door.shortcut.length(head)
        if length is None:
            self._head = head
            return False
        self._missing = end + length - len(data)
        if self._missing > 0 and end + length <= _MOST_HELD:
            self._stop_head_timer()
            self._held.append(data)
            self._hold_timer = self.loop.call_later(_HOLD_S, self._let_go)
            return True
        if self._missing or self.flow.write_paused:
            return False
        self._ride = door.shortcut.take(head, data[end:], self)
        if self._ride is not None:
            self._stop_head_timer()
        return self._ride is not None

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            data = self._take_held()
            if self._missing or not self._take_shortcut(data):
                super().data_received(data)

    def _let_go(self) -> None:
        super().data_received(self._take_held())

    def _take_held(self) -> bytes:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        data = b"".join(self._held)
        self._held.clear()
        return data

    def _go_on(self) -> None:
        data, self._ahead = self._ahead, b""
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.data_received(data)

    def _keep_alive(self, seconds: float) -> None:
        handler = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(seconds, handler)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        door, head = self.config.door, self._head
        self._head = b""
        taken = None if door is None else door.takes(cycle.scope)
        if door is None or taken is None:
            self._work(cycle.run_asgi(app))
        else:
            self._work(self._through(door, taken, cycle, head))

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = task = self.loop.create_task(work)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _through(
        self, door: Door, taken: Any, cycle: RequestResponseCycle, head: bytes
    ) -> None:
        """Answers a request by the door, head and body in one write."""
        body = None if cycle.more_body else bytes(cycle.body)
        again = head if cycle.keep_alive and not cycle.waiting_for_100_continue else b""
        response = await door.answer(taken, cycle.scope, cycle.receive, body, again)
        if response is None or cycle.disconnected:
            return
        if self.flow.write_paused:
            await self.flow.drain()
        cycle.keep_alive = self._write(response, cycle.default_headers, cycle.keep_alive)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        cycle.on_response = _nothing  # which held the connection, as uvicorn has it

    def _write(self, response: Response, defaults: Headers, keep: bool) -> bool:
        """Writes head and body at once; whether the connection is kept for another request."""
        headers = [*defaults, *response.raw_headers]
        if _CLOSE in headers:
            keep = False
        elif not keep:
            headers.append(_CLOSE)
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = STATUS_LINE[response.status_code]
        self.transport.write(b"".join([head, *lines, b"\r\n", response.body]))
        if not keep:
            self.transport.close()
        return keep
