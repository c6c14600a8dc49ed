"""`python -m service`: settings, application, server; and `--check`, the health check.

Heavy imports wait until the signals are in hand: as process 1 of a container, a process that has
no handler for SIGTERM ignores it. Exit status: 0 stopped as asked, 1 the answer is no (the port
is taken, not ready), 2 unusable input, 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from fastapi import FastAPI

    from service.api.connections import ConnectionLimits
    from service.peers import Peers
    from service.settings import Settings

INTERRUPTED = 130
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_CHECK_TIMEOUT_S = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status comes back."""
    stop_at_once_on_signals()
    flags = _parse(argv)
    if flags.pop("check"):
        return check(flags["port"] or os.environ.get("FOLDSERVE_PORT") or "8000")

    from service.settings import BadSettings, read_settings

    try:
        return serve(read_settings(flags))
    except BadSettings as error:
        return _complain(str(error), 2)


def stop_at_once_on_signals() -> Callable[[], None]:
    """Until models are loaded nothing is being served, so the process may simply end.

    Returns what puts the handlers back that were there before. uvicorn raises a signal again
    after its graceful stop, so that these handlers decide the exit status then as well.
    """
    before = {number: signal.signal(number, _exit_now) for number in _STOPPING}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return put_back


def serve(settings: "Settings") -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    stop_at_once_on_signals()

    from functools import partial

    from service.workers import Supervisor

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to look at again
    for kind in ("api_keys", "admin_keys"):
        settings.keys(kind)  # these complain before anything is bound
    _tls(settings)
    if settings.grpc_port:
        _check_grpc(settings)
    try:
        sockets = _bind(settings.host, settings.port, settings.workers)
    except OSError as error:
        return _complain(f"cannot bind {settings.host}:{settings.port}: {error.strerror}", 1)
    host, port = sockets[0].getsockname()[:2]
    scheme = "https" if settings.tls_certfile else "http"
    _say(f"{scheme}://{host}:{port} (API documentation: /docs)")
    if settings.workers > 1:
        return Supervisor(sockets, partial(run_worker, settings)).run()
    run_worker(settings, sockets[0])
    return 0


def run_worker(
    settings: "Settings",
    sock: "socket.socket",
    number: int = 0,
    pipe: "Connection | None" = None,
) -> None:
    """Serves on a socket until told to stop: the only worker, or one with a pipe to the others."""
    stop_at_once_on_signals()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if pipe is not None:
        _end_with_parent()

    from service.api.connections import BoundedConfig
    from service.peers import Peers
    from service.server import Server

    made: list[FastAPI] = []

    def factory() -> "FastAPI":
        made.append(application(settings, Peers(number, pipe)))
        return made[0]

    def on_stop() -> None:
        from service.app import stop

        stop(made[0])

    config = BoundedConfig(
        factory,
        _connection_limits(settings),
        factory=True,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=1024,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
        **_tls(settings),
    )
    Server(config, settings.drain_delay_s, on_stop).run(sockets=[sock])


def _end_with_parent() -> None:
    """A worker whose supervisor was killed stops as if it had been told to."""
    import threading
    from multiprocessing import parent_process

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def application(settings: "Settings", peers: "Peers") -> "FastAPI":
    """What each server process runs: the application, with its log on standard error."""
    put_back = stop_at_once_on_signals()  # uvicorn would finish loading first

    from service.app import create_app
    from service.logs import install

    log = install(settings.log_format, settings.log_level)
    return create_app(settings, on_loaded=put_back, log=log, peers=peers)


def _connection_limits(settings: "Settings") -> "ConnectionLimits":
    from service.api.connections import ConnectionLimits

    return ConnectionLimits(
        connections=settings.max_connections,
        head_bytes=settings.max_header_kb * 1024,
        head_timeout_s=settings.header_timeout_s,
        send_timeout_s=settings.body_timeout_s,
    )


def _check_grpc(settings: "Settings") -> None:
    """BadSettings where gRPC cannot be served as asked."""
    from importlib.util import find_spec

    from service.settings import PREFIX, BadSettings

    if find_spec("grpc") is None:
        raise BadSettings(f"{PREFIX}GRPC_PORT: expected the extra: pip install 'foldserve[grpc]'")
    if settings.tls_keyfile_password.get_secret_value():
        raise BadSettings(f"{PREFIX}GRPC_PORT: expected a TLS key without a password")
    try:
        _bind(settings.host, settings.grpc_port, 1)[0].close()
    except OSError as error:
        place = f"{settings.host}:{settings.grpc_port}"
        raise BadSettings(f"{PREFIX}GRPC_PORT: cannot bind {place}: {error.strerror}") from None


def _tls(settings: "Settings") -> dict[str, Any]:
    """uvicorn's options; BadSettings where the files do not hold what is needed."""
    import ssl

    from service.settings import PREFIX, BadSettings

    certificate, key = settings.tls_certfile, settings.tls_keyfile
    password = settings.tls_keyfile_password.get_secret_value()
    if certificate is None:
        if key is not None:
            raise BadSettings(f"{PREFIX}TLS_KEYFILE: expected {PREFIX}TLS_CERTFILE beside it")
        return {}
    try:
        ssl.create_default_context().load_cert_chain(certificate, key, password)
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(
            f"{PREFIX}TLS_CERTFILE: expected a certificate and its key in PEM files; got {error}"
        ) from None
    return {
        "ssl_certfile": str(certificate),
        "ssl_keyfile": None if key is None else str(key),
        "ssl_keyfile_password": password or None,
    }


def check(port: str) -> int:
    """Asks the service on this machine whether it is ready: 0 yes, 1 no, 2 no such port."""
    import ssl
    from functools import partial
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    if not port.isdecimal() or not 0 < int(port) < 65536:
        return _complain(f"port: expected a number from 1 to 65535; got '{port[:100]}'", 2)
    if os.environ.get("FOLDSERVE_TLS_CERTFILE"):
        context = ssl.create_default_context()
        context.check_hostname = False  # the question stays on this machine
        context.verify_mode = ssl.CERT_NONE
        connect: Callable[..., HTTPConnection] = partial(HTTPSConnection, context=context)
    else:
        connect = HTTPConnection
    connection = connect("127.0.0.1", int(port), timeout=_CHECK_TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return _complain(f"port {port}: expected the service, got {error!r}", 1)
    finally:
        connection.close()
    return 0 if status == 200 else _complain(f"not ready: status {status}", 1)


def _parse(argv: Sequence[str] | None) -> dict[str, str]:
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serves the bundles of a folder. Flags win over FOLDSERVE_* variables.",
        epilog="example: python -m service --models models --port 8000",
    )
    parser.add_argument("--models", metavar="DIR", help="folder of bundles (models)")
    parser.add_argument("--host", metavar="H", help="address to bind (127.0.0.1)")
    parser.add_argument("--port", metavar="P", help="port to bind, 0 for any free one (8000)")
    parser.add_argument("--workers", metavar="N", help="processes that share the port (1)")
    parser.add_argument(
        "--check", action="store_true", help="ask the service on this machine if it is ready"
    )
    return vars(parser.parse_args(argv))


def _bind(host: str, port: int, workers: int) -> "list[socket.socket]":
    """A socket for each worker, all of one port, listening: the kernel spreads connections."""
    import socket

    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sockets: list[socket.socket] = []
    try:
        if workers > 1 and port:  # sharing is for us: somebody else's port is still taken
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        for _ in range(workers):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if workers > 1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
            address = sock.getsockname()
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _exit_now(number: int, _: FrameType | None) -> None:
    """Ends the process without unwinding, which an import in progress might swallow."""
    os._exit(0 if number == signal.SIGTERM else INTERRUPTED)


def _complain(sentence: str, status: int) -> int:
    _say(sentence)
    return status


def _say(sentence: str) -> None:
    sys.stderr.write(f"foldserve: {sentence}\n")


if __name__ == "__main__":
    # Run as the module that can be imported: workers find `application` by that name.
    from service.__main__ import main as imported_main

    sys.exit(imported_main())
