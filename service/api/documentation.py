"""`/docs` and `/openapi.json`: complete, and without a request to anywhere else.

Swagger UI is served from the package (its files are those of swagger-ui-dist, Apache-2.0).
"""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from service.api.operation_schemas import RepositoryIndexRequest
from service.api.schemas import InferRequest, PredictRequest

_ASSETS = "/docs/assets"
_STATIC = Path(__file__).parent / "static" / "swagger"
# Described by hand in the routes, which read their bodies as bytes.
_BODIES = (InferRequest, PredictRequest, RepositoryIndexRequest)


def install(app: FastAPI) -> None:
    """Adds the two pages, and the bodies that FastAPI cannot find by itself."""
    app.mount(_ASSETS, StaticFiles(directory=_STATIC), name="swagger")

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon-32x32.png",
        )

    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        _, bodies = models_json_schema(
            [(model, "validation") for model in _BODIES],
            ref_template="#/components/schemas/{model}",
        )
        schema["components"]["schemas"].update(bodies["$defs"])
        _drop_validation_errors(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _drop_validation_errors(schema: dict[str, Any]) -> None:
    """Removes the answer 422, which FastAPI lists for any parameter: ours are strings."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
