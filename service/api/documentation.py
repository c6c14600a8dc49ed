"""`/docs` and `/openapi.json`: complete, and without a request to anywhere else.

Swagger UI is served from the package (its files are those of swagger-ui-dist, Apache-2.0).
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from service.api.dependencies import json_response
from service.api.guard import Guard
from service.api.routing import Entry

_ASSETS = "/docs/assets"
_STATIC = Path(__file__).parent / "static" / "swagger"
# Styles are in its elements; nothing comes from elsewhere, to no frame and with no referrer.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def install(app: FastAPI, table: Iterable[Entry], guard: Guard) -> None:
    """Adds the page, its parts and the document, which says of `table` what it holds."""

    async def docs(_: Request) -> Response:
        return FileResponse(_STATIC / "index.html", headers=_HEADERS)

    @cache
    def document() -> dict[str, Any]:
        from service.api.openapi import make_document  # with all its models: a while

        return make_document(table, guard)

    async def openapi(_: Request) -> Response:
        return json_response(document())

    app.openapi = document  # type: ignore[method-assign] # FastAPI, "Extending OpenAPI"
    app.mount(_ASSETS, StaticFiles(directory=_STATIC), name="swagger")
    for path, endpoint in (("/docs", docs), ("/openapi.json", openapi)):
        app.routes.append(Entry("GET", path, endpoint, None).route())
