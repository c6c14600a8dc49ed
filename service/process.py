"""One process that serves: its signals, its application, its server.

Imports what is heavy only when it runs: the supervisor of several workers needs none of it.
"""

import gc
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from service.allocator import bound_freed_memory

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from fastapi import FastAPI

    from service.api.bounds import ConnectionLimits
    from service.peers import Peers
    from service.settings import Settings

INTERRUPTED = 130
_STOPPING = (signal.SIGTERM, signal.SIGINT)


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


def run_worker(
    settings: "Settings",
    sock: "socket.socket",
    number: int = 0,
    pipe: "Connection | None" = None,
) -> None:
    """Serves on a socket until told to stop: the only worker, or one with a pipe to the others."""
    stop_at_once_on_signals()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    bound_freed_memory()
    gc.disable()  # until models are loaded: what is made until then, stays
    if pipe is not None:
        _end_with_parent()

    from service.api.connections import BoundedConfig
    from service.listening import tls_options
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
        backlog=1024,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
        **tls_options(settings),
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

    def on_loaded() -> None:
        gc.freeze()  # nor is it ever looked through
        gc.enable()
        put_back()

    return create_app(settings, on_loaded=on_loaded, log=log, peers=peers)


def _connection_limits(settings: "Settings") -> "ConnectionLimits":
    from service.api.bounds import ConnectionLimits

    return ConnectionLimits(
        connections=settings.max_connections,
        head_bytes=settings.max_header_kb * 1024,
        head_timeout_s=settings.header_timeout_s,
        send_timeout_s=settings.body_timeout_s,
    )


def _exit_now(number: int, _: FrameType | None) -> None:
    """Ends the process without unwinding, which an import in progress might swallow."""
    os._exit(0 if number == signal.SIGTERM else INTERRUPTED)
