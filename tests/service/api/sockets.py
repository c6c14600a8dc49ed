"""A service, and bare connections to it: where it matters which bytes arrive together."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from service.api.bounds import ConnectionLimits
from service.api.shortcut import Shortcut
from service.app import create_app
from service.settings import Settings
from tests.servers import serving
from tests.service.bundles import elementwise, tensor, write_plain

LIMITS = ConnectionLimits(connections=50, head_bytes=8192, head_timeout_s=5, send_timeout_s=5)


@dataclass
class Service:
    """A service in a thread, whose application can be looked into."""

    client: httpx.Client
    shortcut: Shortcut
    door: Any = field(repr=False)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A bare connection."""
        url = self.client.base_url
        assert url.port is not None
        with socket.create_connection((url.host, url.port), timeout=10) as connection:
            yield connection

    def learn(self, *requests: bytes) -> None:
        """Sends requests the long way, after which the shortcut knows their heads."""
        for request in requests:
            with self.connected() as connection:
                connection.sendall(request)
                assert answer(connection)[0] == 200
            assert knows(self.shortcut, request)


@contextmanager
def running(
    folder: Path, options: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Service]:
    """A service with the models `same`, y = x, and `log`, y = log x, for rows of three doubles;
    `options` are the server's."""
    both = [tensor(name, "FP64", [-1, 3]) for name in ("x", "y")]
    for name, operator in (("same", "Identity"), ("log", "Log")):
        write_plain(folder, name, elementwise(operator, 11, ("N", 3)), both[:1], both[1:])
    app = create_app(Settings(models=folder, threads=1, **settings))
    with serving(app, LIMITS, **(options or {})) as client:
        yield Service(client, app.state.door.shortcut, app.state.door)


def post(content: bytes, *headers: str, path: str = "/v2/models/same/infer") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def in_json(*row: float, **fields: Any) -> bytes:
    """A row as JSON, long enough for what is quick for long ones."""
    entry = {"name": "x", "datatype": "FP64", "shape": [1, 3], "data": list(row)}
    return json.dumps({"inputs": [entry], **fields}).encode().ljust(700)


def in_binary(*row: float, path: str = "/v2/models/same/infer") -> bytes:
    """A request with a row as binary data, both ways."""
    entry: dict[str, Any] = {"name": "x", "datatype": "FP64", "shape": [1, 3]}
    entry["parameters"] = {"binary_data_size": 24}
    text = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    data = np.array(row, "<f8").tobytes()
    return post(text + data, f"Inference-Header-Content-Length: {len(text)}", path=path)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and content of the next answer."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def row_of(content: bytes) -> list[float]:
    """The row in an answer of either form."""
    if content.endswith(b"}"):
        return list(json.loads(content)["outputs"][0]["data"])
    return [float(value) for value in np.frombuffer(content[-24:], "<f8")]


def knows(shortcut: Shortcut, request: bytes) -> bool:
    """Whether a request like this takes the shortcut."""
    head, end, content = request.partition(b"\r\n\r\n")
    return shortcut.length(head + end) == len(content)


class Stream:
    """One buffer for all answers of a connection: each would else take what follows it."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def makefile(self, mode: str) -> "Stream":
        return self

    def close(self) -> None:
        """The answer was read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
