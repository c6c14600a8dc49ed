"""The model repository extension of V2: what was found, what became of it, load and unload."""

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api import operation_schemas as schemas
from service.api.bodies import parse_json, read_body
from service.api.dependencies import context_of, json_response
from service.api.elements import json_kind
from service.api.parameters import flag, parameters
from service.api.routing import ModelName, documented, json_body
from service.errors import InvalidRequest, NotSupported, shorten

router = APIRouter(tags=["Repository"])


@router.post(
    "/v2/repository/index",
    summary="Every version that was found",
    response_model=None,
    responses=documented(list[schemas.RepositoryEntry], "One entry a version.", 400, 413),
    openapi_extra=json_body(schemas.RepositoryIndexRequest, required=False),
)
async def index(request: Request) -> Response:
    """Name, version and state of every bundle; for one that is unavailable, the reason."""
    document = await _document(request)
    only_ready = flag("request body", document, "ready", False)
    return json_response(
        [
            {
                "name": entry.name,
                "version": str(entry.version),
                "state": entry.state,
                "reason": entry.reason,
            }
            for entry in context_of(request).registry.index()
            if entry.model is not None or not only_ready
        ]
    )


@router.post(
    "/v2/repository/models/{model_name}/load",
    summary="Load a model anew",
    response_model=None,
    responses=documented(schemas.Loaded, "It is loaded.", 400, 403, 404, 409, 413),
    openapi_extra=json_body(schemas.LoadRequest, required=False),
)
async def load(request: Request, model_name: ModelName) -> Response:
    """Loads every version of the model from its folder; a version that fails leaves the old one.

    The new one is verified and warmed up before it takes the place of the old one, which finishes
    what it has begun.
    """
    given = parameters("request body", await _document(request))
    if given:
        raise InvalidRequest(
            "request body: expected no parameters, because bundles and their configuration come "
            f"from the folder of models only; got '{shorten(next(iter(given)))}'"
        )
    await asyncio.shield(context_of(request).control.load(model_name))
    return json_response({"name": model_name, "load": True})


@router.post(
    "/v2/repository/models/{model_name}/unload",
    summary="Unload a model",
    response_model=None,
    responses=documented(schemas.Unloaded, "It is unloaded.", 400, 403, 404, 413),
    openapi_extra=json_body(schemas.UnloadRequest, required=False),
)
async def unload(request: Request, model_name: ModelName) -> Response:
    """Takes every version of the model away, until it is loaded again."""
    given = parameters("request body", await _document(request))
    flag("request body", given, "unload_dependents", False)
    await asyncio.shield(context_of(request).control.unload(model_name))
    return json_response({"name": model_name, "unload": True})


@router.post("/v2/repository/{repository}/index", include_in_schema=False)
@router.post("/v2/repository/{repository}/models/{model_name}/load", include_in_schema=False)
@router.post("/v2/repository/{repository}/models/{model_name}/unload", include_in_schema=False)
async def other_repository(repository: str) -> Response:
    """There is one repository, without a name."""
    raise NotSupported(
        f"repository: expected none to be named, there is only one; got '{shorten(repository)}'"
    )


async def _document(request: Request) -> dict[str, Any]:
    """The object in the body; an empty body is an empty object."""
    body = await read_body(request)
    if not body:
        return {}
    document = parse_json(body, context_of(request).limits.json)
    if not isinstance(document, dict):
        raise InvalidRequest(f"request body: expected an object, got {json_kind(document)}")
    return document
