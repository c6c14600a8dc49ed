"""Clients that send slowly, too much, half, all at once, or nonsense: on bare sockets."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.bounds import ConnectionLimits
from service.app import create_app
from service.settings import Settings
from tests.servers import poll, serving
from tests.service.api.requests import body, images, vector
from tests.service.bundles import elementwise, tensor, write_plain

LIMITS = ConnectionLimits(connections=8, head_bytes=8192, head_timeout_s=0.5, send_timeout_s=0.5)
BODY_TIMEOUT_S = 4
PATH = "/v2/models/large/infer"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with small limits, and a model whose answers are as large as its questions."""
    folder = tmp_path_factory.mktemp("small")
    both = [tensor(name, "FP64", [-1, -1]) for name in ("x", "y")]
    write_plain(folder, "large", elementwise("Identity", 11, ("N", "M")), both[:1], both[1:])
    settings = Settings(models=folder, threads=1, max_body_mb=80, body_timeout_s=BODY_TIMEOUT_S)
    with serving(create_app(settings), LIMITS) as client:
        yield client


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    """A bare connection."""
    url = client.base_url
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        yield connection


def head(path: str = PATH, length: int = 0, method: str = "POST") -> bytes:
    """Request line and headers."""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and sentence of the one answer in these bytes."""
    top, _, content = answer.partition(b"\r\n\r\n")
    lines = top.decode().lower().splitlines()
    assert "content-type: application/json" in lines, answer
    return int(lines[0].split()[1]), json.loads(content)["error"]


def alive(client: httpx.Client) -> None:
    """The service answers."""
    with httpx.Client(base_url=client.base_url) as other:
        assert other.get("/v2/health/ready").status_code == 200


def test_bytes_that_are_no_request_are_answered_in_json(small: httpx.Client) -> None:
    for junk in (b"\x16\x03\x01\x02\x00\x01\n\n", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with connected(small) as connection:
            connection.sendall(junk)
            status, sentence = refusal(received(connection))
        assert (status, sentence) == (
            400,
            "connection: expected an HTTP/1.1 request, got other bytes",
        )
    alive(small)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v2 HTTP/1.1\r\nA: " + b"a" * 9000,
        b"GET /v2 HTTP/1.1\r\n" + b"".join(b"A%d: a\r\n" % i for i in range(2000)),
        b"GET /" + b"a" * 20_000,
        b"GET /v2 HTTP/1.1\r\nA: " + b"a" * 9000 + b"\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nA: " + b"b" * 10_000,
    ],
)
def test_a_head_that_is_too_large_is_431(small: httpx.Client, sent: bytes) -> None:
    with connected(small) as connection:
        connection.sendall(sent)
        status, sentence = refusal(received(connection))
    assert (status, sentence) == (431, "request head: expected at most 8192 bytes, got more")
    alive(small)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /v2", b"GET /v2 HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_408(small: httpx.Client, sent: bytes) -> None:
    began = time.monotonic()
    with connected(small) as connection:
        connection.sendall(sent)
        status, sentence = refusal(received(connection))
    assert (status, sentence) == (408, "request head: expected within 0.5 s, got less")
    assert 0.3 < time.monotonic() - began < 5


def test_one_byte_at_a_time_does_not_prolong_the_head(small: httpx.Client) -> None:
    def drip(connection: socket.socket) -> None:
        for byte in head(method="GET", path="/v2" + "a" * 200):
            connection.sendall(bytes([byte]))
            time.sleep(0.01)

    with connected(small) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        drip(connection)
    alive(small)


def test_a_body_that_does_not_come_is_408(small: httpx.Client) -> None:
    with connected(small) as connection:
        connection.sendall(head(length=1000) + b"{")
        status, sentence = refusal(received(connection))
    assert status == 408
    assert sentence == "request body: expected all of it within 4 s, got 1 bytes"


def test_one_connection_too_many_is_503(small: httpx.Client) -> None:
    small.close()  # its idle connection would count
    url = small.base_url
    assert url.port is not None
    held = [socket.create_connection((url.host, url.port), timeout=10) for _ in range(9)]
    try:
        status, sentence = refusal(received(held[-1]))
        assert (status, sentence) == (
            503,
            "server: expected at most 8 connections, got one more",
        )
    finally:
        for connection in held:
            connection.close()
    poll(lambda: _answers(url), "room for a connection")


def _answers(url: httpx.URL) -> bool:
    return httpx.get(url.join("/v2/health/live")).status_code == 200


def test_pipelined_requests_are_answered_in_order(client: httpx.Client) -> None:
    requests = []
    for number in range(50):
        content = body(vector(data=[number, 0, 0]), id=str(number))
        requests.append(head("/v2/models/same_fp64/infer", len(content)) + content)
    answers = b""
    with connected(client) as connection:
        connection.sendall(b"".join(requests))
        while answers.count(b'"model_name"') < 50:
            part = connection.recv(65536)
            assert part, answers[-500:]
            answers += part
    places = [answers.index(b'"id":"%d"' % number) for number in range(50)]
    assert places == sorted(places)


def test_a_client_that_leaves_in_the_middle_harms_nobody(client: httpx.Client) -> None:
    content = body(
        {"name": "image", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": images().tolist()}
    )
    request = head("/v2/models/tiny/infer", len(content)) + content
    for end in range(1, len(request), 97):
        with connected(client) as connection:
            connection.sendall(request[:end])
    for _ in range(50):  # whole, but nobody waits for the answer
        with connected(client) as connection:
            connection.sendall(request)
    assert client.get("/v2/health/live").status_code == 200


def test_work_for_a_client_that_leaves_is_cancelled(tmp_path: Path) -> None:
    app, ends = create_app(Settings(models=tmp_path)), []

    async def slow(_: Request) -> Response:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return Response()

    app.routes.append(Route("/slow", slow))

    with serving(app) as own:
        with connected(own) as connection:
            connection.sendall(head("/slow", method="GET"))
            time.sleep(0.2)
        poll(lambda: ends == ["cancelled"], "the work to be cancelled")
        alive_at = own.get("/v2/health/live")
    assert alive_at.status_code == 200


def test_a_client_that_does_not_read_is_let_go(small: httpx.Client) -> None:
    count = 1_000_000
    request = body(
        {
            "name": "x",
            "datatype": "FP64",
            "shape": [1, count],
            "parameters": {"binary_data_size": 8 * count},
        },
        parameters={"binary_data_output": True},
    )
    top = head(length=len(request) + 8 * count).replace(
        b"\r\n\r\n", b"\r\nInference-Header-Content-Length: %d\r\n\r\n" % len(request)
    )
    url = small.base_url
    assert url.port is not None
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((url.host, url.port))
        connection.settimeout(10)
        connection.sendall(top + request + bytes(8 * count))
        time.sleep(2)
        got = len(received(connection))
    assert got < 8 * count
    alive(small)


def test_the_brackets_that_a_body_may_hold_cost_little(small: httpx.Client) -> None:
    many = 64 * 2**20
    for content, status, words in (
        (b"[" * many, 413, "at most 8000000 values"),
        (b"[]," * (many // 3), 413, "at most 8000000 values"),
        (b"[" * 7_000_000, 400, "nested at most 100 deep, got 7000000"),
        (b'"' + b'\\"' * (many // 2), 400, "expected JSON"),
        (b"[" * 200 + b'"' + b'\\"' * (many // 4), 400, "nested at most 100 deep, got 200"),
        (b'"' + b"[" * 1000, 400, "expected JSON"),
    ):
        began = time.monotonic()
        answer = httpx.post(small.base_url.join(PATH), content=content, timeout=30)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        assert time.monotonic() - began < 10


def test_unknown_names_leave_nothing_behind(client: httpx.Client) -> None:
    for number in range(300):
        assert client.get(f"/v2/models/nobody-{number}").status_code == 404
    assert "nobody" not in client.get("/metrics").text


def test_files_are_not_left_open(client: httpx.Client) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        with connected(client) as connection:
            connection.sendall(b"junk\r\n\r\n")
            received(connection)
    poll(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 1, "connections to close")
