"""The webhook against a real receiver: what arrives, what is tried again, what is given up."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.webhook import Outcome, Webhook, WebhookLimits
from tests.servers import poll

QUICK = WebhookLimits(attempts=4, timeout_s=0.5, backoff_s=0.01, waiting=3)


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses given, then 204; keeps what came."""

    daemon_threads = True

    def __init__(self, *statuses: int, delay_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.delay_s = list(statuses), delay_s
        self.messages: list[Any] = []
        self.attempts = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=secret"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.attempts += 1
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        time.sleep(self.server.delay_s)
        if status == 204:
            self.server.messages.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def receiving(*statuses: int, delay_s: float = 0.0) -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver(*statuses, delay_s=delay_s)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()


def _settled(webhook: Webhook, count: int) -> None:
    poll(lambda: sum(webhook.outcomes.values()) == count, f"{count} outcomes")


def test_messages_arrive_in_order_and_are_tried_again() -> None:
    with receiving(500, 429, 503) as receiver:
        webhook = Webhook(receiver.url, QUICK)
        for number in range(3):
            webhook.send({"number": number})
        _settled(webhook, 3)
        webhook.close()
    assert [message for *_, message in receiver.messages] == [{"number": n} for n in range(3)]
    assert receiver.messages[0][:2] == ("/hook?token=secret", "application/json")
    assert receiver.attempts == 6
    assert webhook.outcomes == {Outcome.DELIVERED: 3}


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (302, 1), (307, 1), (500, 4)])
def test_a_refusal_is_given_up_and_logged_once(
    caplog: pytest.LogCaptureFixture, status: int, attempts: int
) -> None:
    with receiving(*[status] * 2 * attempts) as receiver, caplog.at_level(logging.INFO):
        webhook = Webhook(receiver.url, QUICK)
        for number in range(3):
            webhook.send({"number": number})
            _settled(webhook, number + 1)
        webhook.close()
    assert webhook.outcomes == {Outcome.FAILED: 2, Outcome.DELIVERED: 1}
    assert receiver.attempts == 2 * attempts + 1
    said = [record.message for record in caplog.records if record.name == "service.webhook"]
    assert said == [
        f"webhook http://127.0.0.1: a message could not be delivered: it answered {status}",
        "webhook http://127.0.0.1: delivers again",
    ]


def test_nobody_there_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver:
        url = receiver.url
    webhook = Webhook(url, QUICK)
    webhook.send({})
    _settled(webhook, 1)
    webhook.close()
    assert webhook.outcomes == {Outcome.FAILED: 1}
    assert "Connection refused" in caplog.text
    assert "secret" not in caplog.text


def test_a_slow_receiver_holds_nobody_up_and_what_waits_is_bounded() -> None:
    with receiving(delay_s=0.3) as receiver:
        webhook = Webhook(receiver.url, QUICK)
        began = time.monotonic()
        for number in range(10):
            webhook.send({"number": number})
        assert time.monotonic() - began < 0.1
        assert webhook.outcomes[Outcome.DROPPED] >= 10 - QUICK.waiting
        webhook.close()
        assert time.monotonic() - began < 1
