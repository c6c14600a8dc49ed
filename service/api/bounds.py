"""Connections with bounds: uvicorn's HTTP protocol, and refusals in the one form.

uvicorn bounds neither the size of a request's head nor the time that it may take, and refuses in
plain text. Here a connection that is one too many, or sends too much or too slowly before there
is a request to answer, is told so in JSON and closed.
"""

from asyncio import BaseTransport, Task, TimerHandle, Transport
from dataclasses import dataclass
from typing import cast

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and what each may take."""

    connections: int
    head_bytes: int  # request line and headers
    head_timeout_s: float
    send_timeout_s: float  # during which a client must take something of its answer


class BoundedProtocol(HttpToolsProtocol):
    """One connection that may take no more than its limits."""

    limits: ConnectionLimits

    _head_bytes = 0
    _silent_bytes = 0  # received since the parser last handed something on
    _head_timer: TimerHandle | None = None
    _send_timer: TimerHandle | None = None
    _refused = False
    _task: Task[None] | None = None  # works on the current request

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
