"""Who may ask for what: keys, deny by default, and the routes that only an administrator opens.

Every path is closed unless this file opens it: with keys set, all but the two health routes and the
files of the page asks for one. Keys are compared as digests, in constant time, all of them every
time.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.errors import FoldserveError, Forbidden, KeyMissing

PROBES = ("/v2/health/live", "/v2/health/ready")
# The page holds nothing: it asks for a key, and sends it with what it reads.
_PAGE = re.compile(r"/(?:page/[a-z]+\.[a-z]+)?")
# Routes that change what is served, for everybody, and one that hands out what others have sent.
_ADMIN = {
    "POST": re.compile(
        r"/v2/repository/.+/(?:load|unload)|/v2/logging|/v2/models/.+/(?:drift|recording)/reset",
        re.DOTALL,
    ),
    "GET": re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?/recording"),
}
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|\[::1\]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Guard:
    """`api` and `admin` are the digests of the keys; `local` tells of a bind to loopback only."""

    api: frozenset[bytes]
    admin: frozenset[bytes]
    local: bool

    def refusal(
        self, method: str, path: str, headers: Mapping[bytes, bytes]
    ) -> FoldserveError | None:
        """Why the request may not pass; None where it may."""
        if is_administration(method, path):
            return self._admin_refusal(headers)
        if not self.api or is_open(path):
            return None
        given = _key(headers)
        if _among(given, self.api | self.admin):
            return None
        return _missing(given)

    def _admin_refusal(self, headers: Mapping[bytes, bytes]) -> FoldserveError | None:
        host = headers.get(b"host", b"")
        if _foreign_page(headers, host):
            return Forbidden("administration: expected no page of another origin to ask for this")
        if self.admin:
            given = _key(headers)
            if _among(given, self.admin):
                return None
            if _among(given, self.api):
                return Forbidden("administration: expected an admin key, got an API key")
            return _missing(given)
        if self.api or not self.local:
            return Forbidden(
                "administration: closed, because no admin key is set (FOLDSERVE_ADMIN_KEYS)"
            )
        # A name that resolves to this machine, or a proxy on it, must not open it to the world.
        if not _LOOPBACK.fullmatch(_without_port(host.decode("latin-1"))):
            return Forbidden(
                "administration: without an admin key, expected a request for a loopback address"
            )
        return None


def is_administration(method: str, path: str) -> bool:
    """Whether the route changes what is served, for everybody, or tells what others have sent.

    The framework's routes also match a path with a newline at its end (`$`).
    """
    routes = _ADMIN.get(method)
    return routes is not None and routes.fullmatch(path.removesuffix("\n")) is not None


def is_open(path: str) -> bool:
    """Whether the route never asks for a key."""
    return path in PROBES or _PAGE.fullmatch(path) is not None


def digests(keys: Iterable[str]) -> frozenset[bytes]:
    """What the guard keeps of keys."""
    return frozenset(hashlib.sha256(key.encode()).digest() for key in keys)


def _among(given: str | None, known: frozenset[bytes]) -> bool:
    if given is None:
        return False
    digest = hashlib.sha256(given.encode()).digest()
    return sum(hmac.compare_digest(digest, one) for one in known) > 0  # no early end


def _foreign_page(headers: Mapping[bytes, bytes], host: bytes) -> bool:
    """Whether a browser sends this for a page of another origin, with what it adds by itself."""
    explicit = b"x-api-key" in headers or headers.get(b"authorization", b"")[:7] == b"Bearer "
    origin = headers.get(b"origin")
    return not explicit and origin is not None and origin.partition(b"://")[2] != host


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    """From X-API-Key, or Authorization: Bearer, or Basic, where the password is the key."""
    if (direct := headers.get(b"x-api-key")) is not None:
        return direct.decode("latin-1")
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip().decode("latin-1")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _missing(given: str | None) -> KeyMissing:
    got = "none" if given is None else "an unknown one"
    return KeyMissing(
        f"key: expected one as 'Authorization: Bearer …', 'X-API-Key' or Basic password, got {got}"
    )


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host)
