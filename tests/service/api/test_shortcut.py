"""The shortcut: requests whose head came before are answered as if it had not."""

import random
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.service.api.sockets import (
    Service,
    Stream,
    answer,
    in_binary,
    in_json,
    knows,
    post,
    row_of,
)


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
        stream = Stream(connection)
        while sent:
            piece = chance.choice([1, 60, 300, 1000, 5000])
            connection.sendall(sent[:piece])
            sent = sent[piece:]
            time.sleep(chance.choice([0, 0, 0.002]))
        for one in expected:
            status, content = answer(stream)  # type: ignore[arg-type]
            assert one == status if isinstance(one, int) else row_of(content) == one


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


def test_old_heads_make_room_for_new_ones(service: Service) -> None:
    requests = [post(in_json(1.0, 2.0, 3.0), f"Number: {number}") for number in range(300)]
    for sent in requests:
        service.learn(sent)
    assert not knows(service.shortcut, requests[0])
    assert len(service.shortcut._known) <= 256
