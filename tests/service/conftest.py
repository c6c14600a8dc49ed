"""A folder of models, an application over it, and a real server."""

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
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from onnx import TensorProto

from service.app import create_app
from service.settings import Settings
from tests.service.bundles import convolutional, elementwise, tensor, write_bundle, write_plain

DEADLINE_S = 30


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good models of several kinds, and a bad one beside them."""
    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder, "tiny", 1)
    write_bundle(folder, "tiny", 2, convolutional(seed=2), forced=["BN005 error: initial"])
    for datatype, kind in (
        ("FP64", TensorProto.DOUBLE),
        ("FP16", TensorProto.FLOAT16),
        ("INT64", TensorProto.INT64),
        ("INT8", TensorProto.INT8),
        ("UINT8", TensorProto.UINT8),
        ("UINT64", TensorProto.UINT64),
        ("BOOL", TensorProto.BOOL),
    ):
        same = [tensor(name, datatype, [-1, 3]) for name in ("x", "y")]
        network = elementwise("Identity", kind)
        write_plain(folder, f"same_{datatype.lower()}", network, same[:1], same[1:])
    free = [tensor(name, "FP32", [-1, -1]) for name in ("x", "y")]
    logarithm = elementwise("Log", shape=("N", "M"))
    write_plain(folder, "logarithm", logarithm, free[:1], free[1:])
    added = [tensor(name, "FP32", [-1, 3]) for name in ("a", "b", "y")]
    write_plain(folder, "sum", elementwise("Add", inputs=("a", "b")), added[:2], added[2:])
    fixed = [tensor(name, "FP32", [2, 3]) for name in ("x", "y")]
    write_plain(folder, "pair", elementwise("Neg", shape=(2, 3)), fixed[:1], fixed[1:])
    (write_bundle(folder, "broken", 1) / "model.onnx").write_bytes(b"junk")
    return folder


@pytest.fixture(scope="session")
def client(models: Path) -> Iterator[httpx.Client]:
    """The application over `models`, with a body limit of 1 MiB and pictures of 1 megapixel."""
    settings = Settings(models=models, max_body_mb=1, max_image_megapixels=1, threads=1)
    with serving(create_app(settings)) as client:
        yield client


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the application, which is served over a real socket by a thread."""
    config = uvicorn.Config(app, port=0, lifespan="on", ws="none", log_config=None)
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
        env={**os.environ, **environment},
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


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """A real server over `models`, for clients that need a socket."""
    started = start("--models", str(models), FOLDSERVE_THREADS="1", FOLDSERVE_MAX_BODY_MB="1")
    yield started
    status, errors = started.stop()
    assert status == 0, errors
    assert "Traceback" not in errors
