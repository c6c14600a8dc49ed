"""`python -m service`: settings, application, server; and `--check`, the health check.

Heavy imports wait until the signals are in hand: as process 1 of a container, a process that has
no handler for SIGTERM ignores it. Exit status: 0 stopped as asked, 1 the answer is no (the port
is taken, not ready), 2 unusable input, 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from service.command_line import complain, parse, say
from service.process import run_worker, stop_at_once_on_signals

if TYPE_CHECKING:
    from service.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status comes back."""
    stop_at_once_on_signals()
    flags = parse(argv)
    if flags.pop("check"):
        from service.health import check

        return check(flags["port"] or os.environ.get("FOLDSERVE_PORT") or "8000")

    from service.settings import BadSettings, read_settings

    try:
        return serve(read_settings(flags))
    except BadSettings as error:
        return complain(str(error), 2)


def serve(settings: "Settings") -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    from service.listening import bind, check_grpc, tls_options
    from service.workers import Supervisor

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to look at again
    for kind in ("api_keys", "admin_keys"):
        settings.keys(kind)  # these complain before anything is bound
    tls_options(settings)
    if settings.grpc_port:
        check_grpc(settings)
    try:
        sockets = bind(settings.host, settings.port, settings.workers)
    except OSError as error:
        return complain(f"cannot bind {settings.host}:{settings.port}: {error.strerror}", 1)
    host, port = sockets[0].getsockname()[:2]
    scheme = "https" if settings.tls_certfile else "http"
    say(f"{scheme}://{host}:{port} (API documentation: /docs)")
    if settings.workers > 1:
        return Supervisor(sockets, partial(run_worker, settings)).run()
    run_worker(settings, sockets[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
