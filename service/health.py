"""The health check of `python -m service --check`; the standard library is all it needs."""

import os
import ssl
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from service.command_line import complain

_TIMEOUT_S = 3


def check(port: str) -> int:
    """Asks the service on this machine whether it is ready: 0 yes, 1 no, 2 no such port."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return complain(f"port: expected a number from 1 to 65535; got '{port[:100]}'", 2)
    if os.environ.get("FOLDSERVE_TLS_CERTFILE"):
        context = ssl.create_default_context()
        context.check_hostname = False  # the question stays on this machine
        context.verify_mode = ssl.CERT_NONE
        connect: Callable[..., HTTPConnection] = partial(HTTPSConnection, context=context)
    else:
        connect = HTTPConnection
    connection = connect("127.0.0.1", int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return complain(f"port {port}: expected the service, got {error!r}", 1)
    finally:
        connection.close()
    return 0 if status == 200 else complain(f"not ready: status {status}", 1)
