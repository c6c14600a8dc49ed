"""The shortcut where things go wrong, or come to their end: as without it."""

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.servers import poll
from tests.service.api.sockets import (
    Service,
    Stream,
    answer,
    in_binary,
    in_json,
    knows,
    post,
    row_of,
    running,
)

DELAY_S = 0.3  # of batches, in the service that is slow
KEY = "key-of-these-tests"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each request waits for company, of which the queue holds little; a key is needed."""
    folder = tmp_path_factory.mktemp("slow")
    with running(folder, batch_delay_ms=DELAY_S * 1000, max_queue_rows=2, api_keys=KEY) as started:
        yield started


def test_what_was_refused_is_not_learned(slow: Service) -> None:
    right, wrong = (post(in_json(1, 2, 3), f"X-Api-Key: {key}") for key in (KEY, "another"))
    for _ in range(2):
        for sent, status in ((right, 200), (wrong, 401), (post(in_json(1, 2, 3)), 401)):
            with slow.connected() as connection:
                connection.sendall(sent)
                assert answer(connection)[0] == status
            assert knows(slow.shortcut, sent) == (status == 200)


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
        stream = Stream(connection)
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


def test_a_connection_that_is_quiet_is_closed(tmp_path: Path) -> None:
    with running(tmp_path, {"timeout_keep_alive": 1}) as service:
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
