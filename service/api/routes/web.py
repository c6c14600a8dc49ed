"""The page, `GET /`: HTML, style and modules as they lie in the package; nothing from elsewhere.

The page itself needs no key: it holds nothing, asks for one where the routes do, and reads all that
it shows through them.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from service.api.routing import Router
from service.errors import NotFound, shorten

router = Router()

_FOLDER = Path(__file__).parents[1] / "static" / "page"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # asks every time, and hears 304: never an old page
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _answer(request, _INDEX)


@router.get("/page/{name}")
async def part(request: Request) -> Response:
    """A part of the page: a module, the style, the picture."""
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise NotFound(f"page: expected one of its files, got '{shorten(name)}'")
    known = request.headers.get("if-none-match", "")
    if file.headers["ETag"] in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=file.headers)
    return Response(file.content, headers=file.headers)


@cache
def _files() -> dict[str, _File]:
    """All of it, by name: little enough to be kept."""
    return {path.name: _read(path) for path in _FOLDER.iterdir() if path.suffix in _TYPES}


def _read(path: Path) -> _File:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content, _HEADERS | {"Content-Type": _TYPES[path.suffix], "ETag": tag})
