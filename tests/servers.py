"""Real servers for the tests: an application in a thread, and `python -m service` as a process.

No process outlives what started it: those of a test are killed when it is over, however it ends,
and if the tests themselves are killed, the kernel does it (PR_SET_PDEATHSIG).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service.api.bounds import ConnectionLimits
from service.api.connections import BoundedConfig

DEADLINE_S = 30
LIMITS = ConnectionLimits(connections=100, head_bytes=65536, head_timeout_s=30, send_timeout_s=30)
# Set by a program of its own: a test with threads must run no Python between fork and exec.
_BOUND = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
_started: list[subprocess.Popen[str]] = []
# A process that is signalled while it starts ends in its signal handler. There coverage would save
# its data, and wait on a lock that this very thread may hold where the signal came (1 in 200).
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}


@contextmanager
def ending_processes() -> Iterator[None]:
    """When it is left, kills what was started within, and what that started, as far as it lives."""
    known = len(_started)
    try:
        yield
    finally:
        while len(_started) > known:
            process = _started.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Servers of fixtures that live longer are started before, and stay."""
    with ending_processes():
        yield


@pytest.fixture(scope="session", autouse=True)
def no_process_outlives_the_tests() -> Iterator[None]:
    """Servers of such fixtures, where these were interrupted."""
    with ending_processes():
        yield


@contextmanager
def serving(
    app: FastAPI, limits: ConnectionLimits = LIMITS, **options: Any
) -> Iterator[httpx.Client]:
    """A client of the application, which is served over a real socket by a thread; `options` are
    uvicorn's."""
    config = BoundedConfig(app, limits, port=0, lifespan="on", **options)
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
    """Starts `python -m service` with flags and FOLDSERVE_* variables, as a group of its own."""
    process = subprocess.Popen(
        [*_BOUND, sys.executable, "-m", "service", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FOLDSERVE_DRAIN_DELAY_S": "0", **environment},
        process_group=0,
    )
    _started.append(process)
    return process


def poll(ready: Callable[[], bool], what: str) -> None:
    """Waits until `ready` is true; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.005)


def start(*flags: str, **environment: str) -> Server:
    """A server that is alive, on a port of its own."""
    process = spawn("--port", "0", *flags, **environment)
    server = Server(process, address_of(process))
    poll(lambda: _alive(server), "the server to be alive")
    return server


def address_of(process: subprocess.Popen[str]) -> str:
    """Host and port, as it says when it has bound them."""
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
