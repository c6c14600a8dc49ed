"""HTTPS and gRPC with a certificate, by uvicorn's own options; the health check too."""

import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.servers import DEADLINE_S, poll, spawn
from tests.service.bundles import write_bundle


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def secure(tmp_path: Path, pair: tuple[Path, Path]) -> Iterator[tuple[int, int]]:
    """The ports of HTTPS and gRPC of a server with that certificate."""
    write_bundle(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        grpc_port = free.getsockname()[1]
    process = spawn(
        "--port",
        "0",
        "--models",
        str(tmp_path),
        FOLDSERVE_TLS_CERTFILE=str(pair[0]),
        FOLDSERVE_TLS_KEYFILE=str(pair[1]),
        FOLDSERVE_GRPC_PORT=str(grpc_port),
    )
    assert process.stderr is not None
    found = re.match(r"foldserve: https://\S+:(\d+) ", process.stderr.readline())
    assert found is not None
    yield int(found[1]), grpc_port
    process.terminate()
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors


def test_https_and_grpc_with_the_certificate(
    secure: tuple[int, int], pair: tuple[Path, Path]
) -> None:
    port, grpc_port = secure
    trusting = ssl.create_default_context(cafile=pair[0])

    def status() -> int:
        connection = HTTPSConnection("localhost", port, context=trusting, timeout=DEADLINE_S)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    poll(lambda: status() == 200, "HTTPS")
    with (
        socket.create_connection(("localhost", grpc_port), timeout=DEADLINE_S) as bare,
        _http2(pair[0]).wrap_socket(bare, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == "h2"
    check = [sys.executable, "-m", "service", "--check", "--port", str(port)]
    told = {**os.environ, "FOLDSERVE_TLS_CERTFILE": str(pair[0])}
    assert subprocess.run(check, env=told, timeout=DEADLINE_S).returncode == 0
    plain = subprocess.run(check, timeout=DEADLINE_S, capture_output=True)
    assert plain.returncode == 1


def _http2(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"FOLDSERVE_TLS_KEYFILE": "/nowhere"}, "FOLDSERVE_TLS_KEYFILE: expected FOLDSERVE_TLS"),
        ({"FOLDSERVE_TLS_CERTFILE": "/nowhere"}, "FOLDSERVE_TLS_CERTFILE: expected a certificate"),
        ({"FOLDSERVE_API_KEYS": "short"}, "FOLDSERVE_API_KEYS: expected keys of 8 to 256"),
        ({"FOLDSERVE_ADMIN_KEYS": "@/nowhere"}, "FOLDSERVE_ADMIN_KEYS: expected a readable file"),
    ],
)
def test_unusable_files_are_one_sentence_and_exit_2(variables: dict[str, str], words: str) -> None:
    process = spawn("--port", "0", **variables)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2, errors
    assert errors.startswith(f"foldserve: {words}"), errors
    assert errors.count("\n") == 1


def test_grpc_on_a_port_in_use_is_one_sentence_and_exit_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = spawn("--port", "0", FOLDSERVE_GRPC_PORT=str(port))
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert errors.startswith(f"foldserve: FOLDSERVE_GRPC_PORT: cannot bind 127.0.0.1:{port}")
