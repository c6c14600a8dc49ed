"""Real servers for the tests: an application in a thread, and `python -m service` as a process."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

import httpx
import uvicorn
from fastapi import FastAPI

from service.api.connections import BoundedConfig, ConnectionLimits

DEADLINE_S = 30


LIMITS = ConnectionLimits(connections=100, head_bytes=65536, head_timeout_s=30, send_timeout_s=30)


@contextmanager
def serving(app: FastAPI, limits: ConnectionLimits = LIMITS) -> Iterator[httpx.Client]:
    """A client of the application, which is served over a real socket by a thread."""
    config = BoundedConfig(app, limits, port=0, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        poll(lambda: server.started or not thread.is_alive(), "the application to start")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)


@dataclass(frozen=True)
class Server:
    """A server process that answers on `address`."""

    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        """The port that it took."""
        return int(self.address.rpartition(":")[2])

    def status(self, path: str) -> int:
        """The status of a GET request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Signals it, and returns exit status and the rest of standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors


def spawn(*flags: str, **environment: str) -> subprocess.Popen[str]:
    """Starts `python -m service` with flags and FOLDSERVE_* variables."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FOLDSERVE_DRAIN_DELAY_S": "0", **environment},
    )


def poll(ready: Callable[[], bool], what: str) -> None:
    """Waits until `ready` is true; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.005)


def start(*flags: str, **environment: str) -> Server:
    """A server that is alive, on a port of its own."""
    process = spawn("--port", "0", *flags, **environment)
    try:
        server = Server(process, _address(process))
        poll(lambda: _alive(server), "the server to be alive")
    except BaseException:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
        raise
    return server


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    while line := process.stderr.readline():
        if found := re.match(r"foldserve: http://(\S+)", line):
            return found[1]
    raise AssertionError("the server ended before it had an address")


def _alive(server: Server) -> bool:
    assert server.process.poll() is None, "the server ended before it was alive"
    try:
        return server.status("/v2/health/live") == 200
    except OSError:
        return False
