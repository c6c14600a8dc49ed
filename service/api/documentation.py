"""`/docs` and `/openapi.json`: complete, and without a request to anywhere else.

Swagger UI is served from the package (its files are those of swagger-ui-dist, Apache-2.0).
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from service.api import drift_schemas, operation_schemas, schemas
from service.api.guard import Guard, is_administration, is_open
from service.api.routing import documented_error

_ASSETS = "/docs/assets"
_STATIC = Path(__file__).parent / "static" / "swagger"
# Named by the routes, which read and write bytes.
_BODIES = (
    schemas.InferRequest,
    schemas.PredictRequest,
    operation_schemas.RepositoryIndexRequest,
    operation_schemas.LoadRequest,
    operation_schemas.UnloadRequest,
    operation_schemas.LogSettingsRequest,
)
_ANSWERS = (
    schemas.Error,
    schemas.ServerMetadata,
    schemas.Live,
    schemas.ServerReady,
    schemas.Models,
    schemas.ModelMetadata,
    schemas.ModelReady,
    schemas.InferResponse,
    schemas.PredictResponse,
    schemas.NormalizationReport,
    schemas.LayerArrays,
    operation_schemas.LogSettings,
    operation_schemas.Statistics,
    operation_schemas.ModelConfig,
    operation_schemas.RepositoryEntry,
    operation_schemas.Loaded,
    operation_schemas.Unloaded,
    drift_schemas.Drift,
    drift_schemas.DriftReset,
    drift_schemas.Inspection,
    operation_schemas.RecordingReset,
    drift_schemas.DriftOfLayer,
    drift_schemas.DriftHistory,
)
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the key."},
}
# Swagger's page has one script of its own and styles in its elements; nothing comes from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'self' '{hash}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def install(app: FastAPI, guard: Guard) -> None:
    """Adds the two pages, and the bodies that FastAPI cannot find by itself."""
    app.mount(_ASSETS, StaticFiles(directory=_STATIC), name="swagger")
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title} API",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon-32x32.png",
    )
    headers = page_headers(bytes(page.body))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page.body, headers=headers)

    app.openapi = lambda: _schema(app, guard)  # type: ignore[method-assign]


def page_headers(html: bytes) -> dict[str, str]:
    """What a browser is told to refuse to a page: other sources, scripts, frames, referrers."""
    script = html.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return {
        "Content-Security-Policy": _POLICY.format(hash=f"sha256-{digest}"),
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }


def _schema(app: FastAPI, guard: Guard) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        _, models = models_json_schema(
            [
                *((model, "validation") for model in _BODIES),
                *((model, "serialization") for model in _ANSWERS),
            ],
            ref_template="#/components/schemas/{model}",
        )
        schema.setdefault("components", {}).setdefault("schemas", {}).update(models["$defs"])
        _correct_responses(schema)
        if guard.api or guard.admin:
            _add_keys(schema, guard)
        app.openapi_schema = schema
    return app.openapi_schema


def _correct_responses(schema: dict[str, Any]) -> None:
    """Removes the answer 422, which FastAPI lists for any parameter: ours are strings."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)


def _add_keys(schema: dict[str, Any], guard: Guard) -> None:
    """Says of each operation whether it asks for a key, and of which kinds keys are."""
    schema["components"]["securitySchemes"] = _SCHEMES
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            admin = is_administration(method.upper(), path)
            if not admin and (is_open(path) or not guard.api):
                continue
            operation["security"] = [{name: []} for name in _SCHEMES]
            operation["responses"]["401"] = documented_error(401)
