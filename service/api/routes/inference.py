"""The Open Inference Protocol V2: health, metadata and inference."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service import __version__
from service.api.bodies import read_body
from service.api.codec import LENGTH_HEADER
from service.api.dependencies import context_of, json_response
from service.api.inference import infer
from service.api.routing import (
    EXTENSIONS,
    PLATFORM,
    RUN_ERRORS,
    Router,
    add_model_route,
    documented,
)
from service.errors import NotReady
from service.model import Model
from service.tensors import TensorSpec

router = Router("Open Inference Protocol V2")

_BINARY_ANSWER: dict[str, Any] = {
    "description": f"The outputs; {LENGTH_HEADER} is there when some of them are binary.",
    "content": {
        "application/octet-stream": {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "The JSON, then the tensors in binary, in the order of outputs.",
            }
        }
    },
}
_INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "The JSON, then the tensors in binary, in the order of inputs.",
                }
            },
        },
    },
    "parameters": [
        {
            "name": LENGTH_HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "integer", "minimum": 0},
            "description": "Bytes of JSON before the binary tensors; 0 for a raw request.",
        }
    ],
}


@router.get(
    "/v2",
    summary="The server",
    responses=documented("ServerMetadata", "Name, version and extensions."),
)
async def server_metadata(_: Request) -> Response:
    """Name and version of the server, and the protocol extensions that it implements."""
    return json_response({"name": "foldserve", "version": __version__, "extensions": EXTENSIONS})


@router.get(
    "/v2/health/live",
    summary="Is the process alive",
    responses=documented("Live", "It is."),
)
async def live(_: Request) -> Response:
    """Answers as long as the process does."""
    return json_response({"live": True})


@router.get(
    "/v2/health/ready",
    summary="Can every model answer",
    responses=documented("ServerReady", "All can.", 503),
)
async def ready(request: Request) -> Response:
    """Ready when there is at least one model, and every model has a version that can answer."""
    if not context_of(request).registry.ready:
        raise NotReady("server: expected a ready version of every model, and at least one model")
    return json_response({"ready": True, "live": True})


@router.get(
    "/v2/models",
    summary="The models that can answer",
    responses=documented("Models", "Their names."),
)
async def models(request: Request) -> Response:
    """The names of the models with a ready version; the repository index tells of the others."""
    return json_response({"models": context_of(request).registry.names()})


async def model_metadata(request: Request, model: Model) -> Response:
    """Inputs, outputs and versions: all ready ones, or the one in the path."""
    one = "model_version" in request.path_params
    versions = [model.version] if one else context_of(request).registry.versions(model.name)
    return json_response(
        {
            "name": model.name,
            "versions": [str(version) for version in versions],
            "platform": PLATFORM,
            "inputs": [_tensor(spec) for spec in model.inputs],
            "outputs": [_tensor(spec) for spec in model.outputs],
        }
    )


async def model_ready(_: Request, model: Model) -> Response:
    """200 when the model can answer; 503 with the reason when it is there and cannot."""
    return json_response({"name": model.name, "ready": True})


async def infer_route(request: Request, model: Model) -> Response:
    """Runs the model. Tensors go both ways as JSON or as binary data after the JSON."""
    body, headers = await read_body(request), dict(request.scope["headers"])
    return await infer(context_of(request), model, headers, request.scope["state"], body)


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _with_binary(responses: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    json = responses[200]["content"]
    return {**responses, 200: {**_BINARY_ANSWER, "content": {**json, **_BINARY_ANSWER["content"]}}}


add_model_route(
    router,
    "GET",
    "",
    model_metadata,
    summary="What a model takes and gives",
    responses=documented("ModelMetadata", "Inputs, outputs, versions.", 404, 503),
)
add_model_route(
    router,
    "GET",
    "/ready",
    model_ready,
    summary="Can a model answer",
    responses=documented("ModelReady", "It can.", 404, 503),
)
add_model_route(
    router,
    "POST",
    "/infer",
    infer_route,
    summary="Inference on tensors",
    responses=_with_binary(documented("InferResponse", "", *RUN_ERRORS)),
    extra=_INFER_BODY,
)
