"""`python -m service`: exit statuses, signals at any moment, workers, and the health check."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.servers import DEADLINE_S, UNMEASURED, poll, spawn, start
from tests.service.bundles import write_bundle

PROMPT_S = 5


def catches_sigterm(process: subprocess.Popen[str]) -> bool:
    """Whether the process has a handler for SIGTERM, as the kernel sees it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def finish(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Signals the process; its exit status and standard error, if it is prompt."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=PROMPT_S)
    return process.returncode, errors


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("delay_ms", [0, 50, 150, 300, 600])
def test_sigterm_during_the_start_exits_0(tmp_path: Path, delay_ms: int, workers: str) -> None:
    write_bundle(tmp_path)
    process = spawn("--port", "0", "--models", str(tmp_path), "--workers", workers, **UNMEASURED)
    poll(lambda: catches_sigterm(process), "the handler of SIGTERM")
    time.sleep(delay_ms / 1000)  # the moment is what is tested
    status, errors = finish(process, signal.SIGTERM)
    assert status == 0, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("number", "statuses"), [(signal.SIGTERM, {0}), (signal.SIGINT, {0, 130})])
def test_a_signal_while_serving_ends_it_gracefully(
    tmp_path: Path, workers: str, number: signal.Signals, statuses: set[int]
) -> None:
    write_bundle(tmp_path)
    server = start("--models", str(tmp_path), "--workers", workers)
    assert server.status("/v2/models/tiny/ready") == 200
    began = time.monotonic()
    status, errors = server.stop(number)
    assert status in statuses, errors
    assert "Traceback" not in errors
    assert time.monotonic() - began < PROMPT_S


def test_sigint_during_the_start_leaves_no_traceback(tmp_path: Path) -> None:
    process = spawn("--port", "0", "--models", str(tmp_path), **UNMEASURED)
    poll(lambda: catches_sigterm(process), "the handlers")
    poll(lambda: Path(f"/proc/{process.pid}/maps").read_text().count("numpy") > 0, "an import")
    status, errors = finish(process, signal.SIGINT)
    assert status == 130
    assert "Traceback" not in errors


def test_settings_and_models_are_logged_once(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    server = start("--models", str(tmp_path), FOLDSERVE_THREADS="1")
    _, errors = server.stop()
    assert errors.count("settings: ") == 1
    assert "threads_per_worker=1" in errors
    assert errors.count("model tiny/1 loaded in ") == 1


def test_a_missing_folder_of_models_is_logged_and_the_service_stays(tmp_path: Path) -> None:
    server = start("--models", str(tmp_path / "missing"))
    assert server.status("/v2/health/ready") == 503
    status, errors = server.stop()
    assert status == 0
    assert "no models: expected a folder" in errors


@pytest.mark.parametrize(
    ("flags", "variables", "words"),
    [
        (("--port", "abc"), {}, "foldserve: --port: "),
        ((), {"FOLDSERVE_WORKERS": "none"}, "foldserve: FOLDSERVE_WORKERS: "),
    ],
)
def test_unusable_settings_are_one_sentence_and_exit_2(
    flags: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    process = spawn(*flags, **variables)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert errors.startswith(words)
    assert errors.count("\n") == 1


def test_a_port_in_use_is_one_sentence_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = spawn("--port", str(port))
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert errors == f"foldserve: cannot bind 127.0.0.1:{port}: Address already in use\n"


def test_an_unknown_host_is_one_sentence_and_exit_1() -> None:
    process = spawn("--host", "no.such.host.invalid")
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert errors.startswith("foldserve: cannot bind no.such.host.invalid:8000: ")
    assert errors.count("\n") == 1


def test_check_tells_whether_the_service_is_ready(tmp_path: Path) -> None:
    def checked(port: int) -> int:
        process = spawn("--check", FOLDSERVE_PORT=str(port))
        process.communicate(timeout=DEADLINE_S)
        return process.returncode

    server = start("--models", str(tmp_path))  # without models: not ready
    assert checked(server.port) == 1
    server.stop()
    assert checked(server.port) == 1
    write_bundle(tmp_path)
    server = start("--models", str(tmp_path))
    assert checked(server.port) == 0
    server.stop()
    assert checked(0) == 2


def test_check_loads_nothing_heavy() -> None:
    program = (
        "import sys; from service.__main__ import main; status = main(['--check', '--port', '1']);"
        "heavy = {'numpy', 'onnxruntime', 'fastapi', 'starlette', 'pydantic', 'uvicorn'};"
        "heavy &= set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy or status != 1 else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_service_loads_neither_torch_nor_onnx() -> None:
    program = (
        "import sys, service.app;"
        "sys.exit(str({'torch', 'onnx', 'training'} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_request_in_flight_is_answered_after_sigterm(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    server = start("--models", str(tmp_path))
    content = json.dumps({"instances": np.zeros((1, 3, 8, 8)).tolist()}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
        connection.sendall(
            b"POST /v2/models/tiny/predict HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nExpect: 100-continue\r\n"
            + f"Content-Length: {len(content)}\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # the route waits for the body
        server.process.send_signal(signal.SIGTERM)
        poll(lambda: not listens(server.port), "the server to stop listening")
        connection.sendall(content)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    _, errors = server.process.communicate(timeout=DEADLINE_S)
    assert server.process.returncode == 0, errors


def listens(port: int) -> bool:
    """Whether new connections are taken."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S).close()
    except OSError:
        return False
    return True


def test_sigterm_while_loading_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    for number in range(100):
        write_bundle(tmp_path, f"model{number}")
    process = spawn("--port", "0", "--models", str(tmp_path), **UNMEASURED)
    log = process.stderr
    assert log is not None
    poll(lambda: "loaded in" in log.readline(), "the first model")
    status, errors = finish(process, signal.SIGTERM)
    assert status == 0
    assert "serving" not in errors
