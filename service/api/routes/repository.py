"""The model repository extension of V2: what was found, and what became of it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api import schemas
from service.api.bodies import parse_json, read_body
from service.api.dependencies import JsonLimits, context_of, json_response
from service.api.elements import json_kind
from service.api.routing import documented
from service.errors import InvalidRequest

router = APIRouter(tags=["Repository"])


@router.post(
    "/v2/repository/index",
    summary="Every version that was found",
    response_model=None,
    responses=documented(list[schemas.RepositoryEntry], "One entry a version.", 400, 413),
    openapi_extra={
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/RepositoryIndexRequest"}
                }
            },
        }
    },
)
async def index(request: Request) -> Response:
    """Name, version and state of every bundle; for one that is unavailable, the reason."""
    only_ready = _only_ready(await read_body(request), context_of(request).limits.json)
    return json_response(
        [
            {
                "name": entry.name,
                "version": str(entry.version),
                "state": "UNAVAILABLE" if entry.model is None else "READY",
                "reason": entry.reason,
            }
            for entry in context_of(request).registry.index()
            if entry.model is not None or not only_ready
        ]
    )


def _only_ready(body: bytes, limits: JsonLimits) -> bool:
    if not body:
        return False
    document = parse_json(body, limits)
    if not isinstance(document, dict):
        raise InvalidRequest(f"request body: expected an object, got {json_kind(document)}")
    only_ready = document.get("ready", False)
    if not isinstance(only_ready, bool):
        raise InvalidRequest(f"'ready': expected a boolean, got {json_kind(only_ready)}")
    return only_ready
