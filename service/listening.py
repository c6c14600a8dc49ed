"""What a server listens with: sockets, TLS, gRPC's port; looked at before anything is loaded."""

import socket
import ssl
from importlib.util import find_spec
from typing import Any

from service.settings import PREFIX, BadSettings, Settings


def bind(host: str, port: int, workers: int) -> list[socket.socket]:
    """A socket for each worker, all of one port, listening: the kernel spreads connections."""
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


def tls_options(settings: Settings) -> dict[str, Any]:
    """uvicorn's options; BadSettings where the files do not hold what is needed."""
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


def check_grpc(settings: Settings) -> None:
    """BadSettings where gRPC cannot be served as asked."""
    if find_spec("grpc") is None:
        raise BadSettings(f"{PREFIX}GRPC_PORT: expected the extra: pip install 'foldserve[grpc]'")
    if settings.tls_keyfile_password.get_secret_value():
        raise BadSettings(f"{PREFIX}GRPC_PORT: expected a TLS key without a password")
    try:
        bind(settings.host, settings.grpc_port, 1)[0].close()
    except OSError as error:
        place = f"{settings.host}:{settings.grpc_port}"
        raise BadSettings(f"{PREFIX}GRPC_PORT: cannot bind {place}: {error.strerror}") from None
