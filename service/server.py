"""The HTTP server of one process: uvicorn, and how it stops without losing an answer.

On SIGTERM the service is not ready at once, and goes on serving for the drain delay. Then it takes
no new connections, lets those that are open send one last request, answers it with
`Connection: close`, and finishes what is in flight.
"""

import asyncio
import contextlib
import ctypes
import math
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

# A client may have sent its next request before it could know that this was the last answer.
_LINGER_S = 0.5
_HANDSHAKE_S = 0.1  # a connection whose beginning was answered is in the queue after so long
_TICK_S = 0.02
# Linux, socket(7) and asm-generic/socket.h.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
# Linux, filter.rst: drops what has SYN among its flags, byte 13 of TCP's header; passes the rest.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load a byte
    (0x45, 0, 1, 0x02),  # is the bit set
    (0x06, 0, 0, 0),  # return: nothing of the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # return: all of it
)
_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """One process's server."""

    def __init__(
        self, config: uvicorn.Config, drain_delay_s: float, on_stop: Callable[[], None]
    ) -> None:
        """`on_stop` is called in the signal's handler, once: not ready from then on."""
        super().__init__(config)
        self._drain_delay_s, self._on_stop = drain_delay_s, on_stop
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins to stop; the second ends it, with what is in flight lost."""
        self._captured_signals.append(sig)
        if self._exit_at is not None:
            self.should_exit = self.force_exit = True
            return
        delay_s = 0.0 if sig == signal.SIGINT else self._drain_delay_s  # nobody waits for Ctrl-C
        self._exit_at = time.monotonic() + delay_s
        if not self.started:
            self.should_exit = True
        self._on_stop()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; uvicorn writes the headers anew in some of them."""
        over = await super().on_tick(counter)
        return over or (self._exit_at is not None and time.monotonic() >= self._exit_at)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens the door, which a predecessor on the same sockets may have shut."""
        for sock in sockets or []:
            admit_connections(sock)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shuts the door, waits for last requests, and leaves the rest to uvicorn."""
        for sock in sockets or []:
            held_off = hold_off_connections(sock)
            until = math.inf if held_off else time.monotonic() + _LINGER_S
            empty_at = time.monotonic() + _HANDSHAKE_S
            while time.monotonic() < empty_at and self._goes_on(until):
                if _has_connections(sock):
                    empty_at = time.monotonic() + _HANDSHAKE_S
                await asyncio.sleep(_TICK_S)
        for server in self.servers:
            server.close()
        # Not before: who is told to leave comes back at once, and would stand in the door.
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        until = time.monotonic() + _LINGER_S
        while self._open and self._goes_on(until):  # noqa: ASYNC110 (uvicorn has no event)
            await asyncio.sleep(_TICK_S)
        await super().shutdown(sockets)

    @property
    def _open(self) -> bool:
        return bool(self.server_state.connections)

    def _goes_on(self, until: float) -> bool:
        return not self.force_exit and time.monotonic() < until


def hold_off_connections(sock: socket.socket) -> bool:
    """Has the kernel drop what would begin a connection; those that have begun stay.

    To close a listening socket resets the connections in its queue, whose clients may have sent a
    request already. A filter lets the queue be emptied first. It drops nothing but SYN: a client
    that has had its SYN answered believes to be connected, and sends. Who is held off tries again,
    and is then refused. Whether it was done: some sandboxes of containers do not allow it.
    """
    if sys.platform != "linux":
        return False
    instructions = b"".join(struct.pack("HBBI", *one) for one in _DROP_SYN)
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def admit_connections(sock: socket.socket) -> None:
    """Undoes `hold_off_connections`."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # there is no filter
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _has_connections(sock: socket.socket) -> bool:
    readable, _, _ = select.select([sock], [], [], 0)
    return bool(readable)
