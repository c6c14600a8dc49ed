"""The shortcut: requests whose head came before are answered as if it had not, however they come.

Bare sockets, because what matters is which bytes arrive together.
"""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.bounds import ConnectionLimits
from service.api.connections import BoundedConfig
from service.api.shortcut import Shortcut
from service.app import create_app
from service.settings import Settings
from tests.servers import poll, serving
from tests.service.bundles import elementwise, tensor, write_plain

LIMITS = ConnectionLimits(connections=50, head_bytes=8192, head_timeout_s=5, send_timeout_s=5)
DELAY_S = 0.3  # of batches, in the service that is slow
KEY = "key-of-these-tests"


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
def running(folder: Path, **settings: Any) -> Iterator[Service]:
    """A service with the models `same`, y = x, and `log`, y = log x, for rows of three doubles."""
    both = [tensor(name, "FP64", [-1, 3]) for name in ("x", "y")]
    for name, operator in (("same", "Identity"), ("log", "Log")):
        write_plain(folder, name, elementwise(operator, 11, ("N", 3)), both[:1], both[1:])
    app = create_app(Settings(models=folder, threads=1, **settings))
    with serving(app, LIMITS) as client:
        yield Service(client, app.state.door.shortcut, app.state.door)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """As it is by default."""
    with running(tmp_path_factory.mktemp("models")) as started:
        yield started


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each request waits for company, of which the queue holds little; a key is needed."""
    folder = tmp_path_factory.mktemp("slow")
    settings = {"batch_delay_ms": DELAY_S * 1000, "max_queue_rows": 2, "api_keys": KEY}
    with running(folder, **settings) as started:
        yield started


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


@pytest.fixture
def only(service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a request that takes the longer way is not answered."""
    return lambda: monkeypatch.setattr(service.door, "answer", None)


FORMS = [lambda *row: post(in_json(*row)), in_binary]


@pytest.mark.parametrize("form", FORMS)
def test_each_gets_the_answer_to_its_own_numbers(
    service: Service, only: Callable[[], None], form: Callable[..., bytes]
) -> None:
    service.learn(form(0.0, 0.0, 0.0))
    only()
    with service.connected() as connection:
        for row in np.random.default_rng(0).standard_normal((50, 3)):
            connection.sendall(form(*row))
            status, content = answer(connection)
            assert (status, row_of(content)) == (200, row.tolist())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", [1, 37, 500])
def test_a_request_may_come_in_pieces(
    service: Service, form: Callable[..., bytes], piece: int
) -> None:
    service.learn(form(0.0, 0.0, 0.0))
    with service.connected() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for row in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]):
            sent = form(*row)
            for start in range(0, len(sent), piece):
                connection.sendall(sent[start : start + piece])
                time.sleep(0.0002)
            assert row_of(answer(connection)[1]) == row


def test_a_body_that_stays_away_is_left_to_the_parser(service: Service) -> None:
    sent = post(in_json(1.0, 2.0, 3.0))
    service.learn(sent)
    with service.connected() as connection:
        connection.sendall(sent[:-10])
        time.sleep(1.5)
        connection.sendall(sent[-10:])
        assert row_of(answer(connection)[1]) == [1.0, 2.0, 3.0]
        connection.sendall(in_binary(7.0, 8.0, 9.0))
        assert row_of(answer(connection)[1]) == [7.0, 8.0, 9.0]


@pytest.mark.parametrize("seed", range(20))
def test_any_requests_in_any_pieces_are_answered_in_order(service: Service, seed: int) -> None:
    """Pipelined, of known heads and others, right and wrong, cut anywhere."""
    service.learn(post(in_json(0.0, 0.0, 0.0)), in_binary(0.0, 0.0, 0.0))
    chance = random.Random(seed)
    sent, expected = b"", list[Any]()
    for number in range(30):
        row = [float(number), chance.random(), -1.5]
        kind = chance.choice(["json", "json", "binary", "binary", "get", "wrong", "short"])
        expected.append({"get": 200, "wrong": 400, "short": 400}.get(kind, row))
        sent += {
            "json": post(in_json(*row)),
            "binary": in_binary(*row),
            "get": b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n",
            "wrong": post(in_json(*row).replace(b"-1.5", b"true")),
            "short": post(in_json(*row[:2])),
        }[kind]
    with service.connected() as connection:
        stream = _Stream(connection)
        while sent:
            piece = chance.choice([1, 60, 300, 1000, 5000])
            connection.sendall(sent[:piece])
            sent = sent[piece:]
            time.sleep(chance.choice([0, 0, 0.002]))
        for one in expected:
            status, content = answer(stream)  # type: ignore[arg-type]
            assert one == status if isinstance(one, int) else row_of(content) == one


class _Stream:
    """One buffer for all answers of a connection: each would else take what follows it."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def makefile(self, mode: str) -> "_Stream":
        return self

    def close(self) -> None:
        """The answer was read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Request-ID: seven"],
        ["Content-Encoding: identity"],
        ["Expect: 100-continue"],
        ["Connection: close"],
        ["Origin: http://example.org"],
        ["A: 1", "A: 2"],
        ["A: " + "a" * 4096],
    ],
)
def test_what_is_not_as_usual_is_not_learned(service: Service, lines: list[str]) -> None:
    sent = post(in_json(1.0, 2.0, 3.0), *lines)
    for _ in range(2):
        with service.connected() as connection:
            connection.sendall(sent)
            assert b"200 OK" in connection.recv(65536) or b"100 Continue" in connection.recv(9)
        assert not knows(service.shortcut, sent)


def test_empty_lines_before_a_request_are_no_head(service: Service) -> None:
    sent = post(in_json(1.0, 2.0, 3.0), "B: before")
    with service.connected() as connection:
        connection.sendall(b"\r\n\r\n" + sent)
        assert answer(connection)[0] == 200
    assert service.shortcut.length(b"\r\n\r\n") is None


def test_what_was_refused_is_not_learned(slow: Service) -> None:
    right, wrong = (post(in_json(1, 2, 3), f"X-Api-Key: {key}") for key in (KEY, "another"))
    for _ in range(2):
        for sent, status in ((right, 200), (wrong, 401), (post(in_json(1, 2, 3)), 401)):
            with slow.connected() as connection:
                connection.sendall(sent)
                assert answer(connection)[0] == status
            assert knows(slow.shortcut, sent) == (status == 200)


def test_old_heads_make_room_for_new_ones(service: Service) -> None:
    requests = [post(in_json(1.0, 2.0, 3.0), f"Number: {number}") for number in range(300)]
    for sent in requests:
        service.learn(sent)
    assert not knows(service.shortcut, requests[0])
    assert len(service.shortcut._known) <= 256


def test_errors_are_told(slow: Service, caplog: pytest.LogCaptureFixture) -> None:
    key = f"X-Api-Key: {KEY}"
    sent = post(in_json(1.0, 2.0, 3.0), key)
    late = post(in_json(1.0, 2.0, 3.0, parameters={"timeout": 1000}), key)
    slow.learn(sent)
    with slow.connected() as connection:  # its head is known, because its length is the same
        connection.sendall(late)
        status, content = answer(connection)
        assert (status, b"within 0.001 s" in content) == (504, True)
    with slow.connected() as one, slow.connected() as two, slow.connected() as three:
        for connection in (one, two):
            connection.sendall(sent)
        time.sleep(DELAY_S / 3)
        three.sendall(sent)
        response = HTTPResponse(three)
        response.begin()
        assert response.status == 429
        assert int(response.headers["Retry-After"]) >= 1
        assert [answer(connection)[0] for connection in (one, two)] == [200, 200]


def test_what_comes_meanwhile_is_answered_next(slow: Service) -> None:
    key = f"X-Api-Key: {KEY}"
    slow.learn(post(in_json(0.0, 0.0, 0.0), key))
    with slow.connected() as connection:
        stream = _Stream(connection)
        for number in range(4):
            connection.sendall(post(in_json(float(number), 0.0, 0.0), key))
            time.sleep(DELAY_S / 5)
        for number in range(4):
            status, content = answer(stream)  # type: ignore[arg-type]
            assert (status, row_of(content)) == (200, [number, 0.0, 0.0])


def test_a_nan_is_counted_and_the_connection_stays(service: Service) -> None:
    path = "/v2/models/log/infer"
    service.learn(post(in_json(1.0, 2.0, 3.0), path=path))
    with service.connected() as connection:
        for _ in range(2):
            connection.sendall(post(in_json(1.0, -1.0, 3.0).ljust(701)[:700], path=path))
            content = json.loads(answer(connection)[1])
            assert content["parameters"]["nonfinite_count"] == 1
            assert content["outputs"][0]["data"][1] is None


def test_a_client_that_leaves_takes_its_rows_with_it(slow: Service) -> None:
    sent = post(in_json(1.0, 2.0, 3.0), f"X-Api-Key: {KEY}")
    slow.learn(sent)
    headers = {"X-Api-Key": KEY}

    def cancelled() -> float:
        text = slow.client.get("/metrics", headers=headers).text
        lines = [line for line in text.splitlines() if 'reason="cancelled"' in line]
        return sum(float(line.split()[-1]) for line in lines)

    before = cancelled()
    with slow.connected() as connection:
        connection.sendall(sent)
        time.sleep(DELAY_S / 3)
    poll(lambda: cancelled() == before + 1, "the cancellation")


def test_the_last_answer_says_so_and_closes(tmp_path: Path) -> None:
    with socket.socket() as connection:
        with running(tmp_path, batch_delay_ms=DELAY_S * 1000) as service:
            sent = in_binary(1.0, 2.0, 3.0)
            service.learn(sent)
            url = service.client.base_url
            connection.connect((url.host, url.port))
            connection.sendall(sent)
            assert answer(connection)[0] == 200
            connection.sendall(sent)
            time.sleep(DELAY_S / 3)  # then the server is told to stop
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, response.headers["Connection"]) == (200, "close")
        assert row_of(response.read()) == [1.0, 2.0, 3.0]
        assert connection.recv(1) == b""


def test_a_connection_that_is_quiet_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConfig, "__init__", _short_lived(BoundedConfig.__init__))
    with running(tmp_path) as service:
        sent = in_binary(1.0, 2.0, 3.0)
        service.learn(sent)
        with service.connected() as connection:
            for _ in range(5):  # longer than a connection may be quiet
                connection.sendall(sent)
                assert answer(connection)[0] == 200
                time.sleep(0.4)
            began = time.monotonic()
            assert connection.recv(1) == b""
            assert time.monotonic() - began < 2


def _short_lived(init: Callable[..., None]) -> Callable[..., None]:
    def with_one_second(self: BoundedConfig, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, timeout_keep_alive=1, **options)

    return with_one_second
