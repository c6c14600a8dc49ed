"""The model repository extension of V2: what was found, what became of it, load and unload."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.bodies import parse_json, read_body
from service.api.dependencies import context_of, json_response
from service.api.elements import json_kind
from service.api.parameters import flag, parameters
from service.api.routing import Router, documented, json_body
from service.errors import InvalidRequest, NotSupported, shorten

router = Router("Repository")


@router.post(
    "/v2/repository/index",
    summary="Every version that was found",
    responses=documented("RepositoryEntry", "One entry a version.", 400, 413, many=True),
    extra=json_body("RepositoryIndexRequest", required=False),
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
    responses=documented("Loaded", "It is loaded.", 400, 403, 404, 409, 413),
    extra=json_body("LoadRequest", required=False),
)
async def load(request: Request) -> Response:
    """Loads every version of the model from its folder; a version that fails leaves the old one.

    The new one is verified and warmed up before it takes the place of the old one, which finishes
    what it has begun.
    """
    model_name = request.path_params["model_name"]
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
    responses=documented("Unloaded", "It is unloaded.", 400, 403, 404, 413),
    extra=json_body("UnloadRequest", required=False),
)
async def unload(request: Request) -> Response:
    """Takes every version of the model away, until it is loaded again."""
    model_name = request.path_params["model_name"]
    given = parameters("request body", await _document(request))
    flag("request body", given, "unload_dependents", False)
    await asyncio.shield(context_of(request).control.unload(model_name))
    return json_response({"name": model_name, "unload": True})


async def other_repository(request: Request) -> Response:
    """There is one repository, without a name."""
    repository = request.path_params["repository"]
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


for _path in ("index", "models/{model_name}/load", "models/{model_name}/unload"):
    router.add("POST", f"/v2/repository/{{repository}}/{_path}", other_repository)
