"""Stopping under load: nothing lost, nothing half; not ready at once; a second signal ends it."""

import http.client
import signal
import socket
import time
from pathlib import Path

import pytest

from service.server import admit_connections, hold_off_connections
from tests.servers import DEADLINE_S, poll, start
from tests.service.bundles import write_bundle
from tests.stopping import BODY, stop_under_load


@pytest.mark.parametrize("workers", [1, 2])
def test_no_answer_is_lost_or_half(tmp_path: Path, workers: int) -> None:
    """A short run of benchmarks/stopping.py, which does it a hundred times."""
    write_bundle(tmp_path)
    for load_s in (0.15, 0.4):
        results, status, log = stop_under_load(tmp_path, load_s, workers)
        assert status == 0, log
        assert set(results) == {"answered"}, log
        assert results["answered"] > 10


def test_not_ready_at_once_and_served_during_the_delay(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    server = start("--models", str(tmp_path), FOLDSERVE_DRAIN_DELAY_S="1.5")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    connection.connect()
    server.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    poll(lambda: server.status("/v2/health/ready") == 503, "not being ready")
    assert time.monotonic() - began < 1
    assert server.status("/v2/health/live") == 200  # a new connection
    connection.request("POST", "/v2/models/tiny/infer", BODY)  # one that was open
    answer = connection.getresponse()
    answer.read()
    assert (answer.status, answer.headers["connection"]) == (200, None)
    connection.close()
    _, errors = server.process.communicate(timeout=DEADLINE_S)
    assert server.process.returncode == 0, errors
    assert time.monotonic() - began > 1.4


def test_a_second_signal_ends_it(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    server = start("--models", str(tmp_path), FOLDSERVE_DRAIN_DELAY_S="60")
    server.process.send_signal(signal.SIGTERM)
    poll(lambda: server.status("/v2/health/ready") == 503, "the drain")
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=5)
    assert server.process.returncode == 0, errors


def test_connections_are_held_off_and_those_in_the_queue_stay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        queued = socket.create_connection(address, timeout=1)
        assert hold_off_connections(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        accepted, _ = listener.accept()
        queued.sendall(b"x")
        assert accepted.recv(1) == b"x"
        admit_connections(listener)
        socket.create_connection(address, timeout=3).close()
        queued.close()
        accepted.close()


def test_where_the_kernel_refuses_the_filter_it_is_said() -> None:
    """As in the sandbox of some containers; here because there is no socket any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pass
    assert not hold_off_connections(listener)
