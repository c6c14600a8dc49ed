"""What the routes of a model have in common: two paths each, and documented errors."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_args, get_origin

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of
from service.api.schemas import Error
from service.errors import NotFound
from service.model import Model
from service.watch import Watch

Handler = Callable[[Request, Model], Awaitable[Response]]
ModelName = Annotated[str, Path(description="Name of the model.", examples=["digits"])]
ModelVersion = Annotated[str, Path(description="A positive integer.", examples=["1"])]

PLATFORM = "onnxruntime_onnx"  # as Triton calls ours
# Those that are implemented, by Triton's names.
EXTENSIONS = [
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
    "logging",
]
RUN_ERRORS = (400, 404, 408, 413, 415, 429, 503, 504)  # of what runs a network
_ERRORS = {
    400: "Malformed, or not what the model takes.",
    401: "The route asks for a key.",
    403: "The key does not open this route, or nothing does.",
    404: "No such model, version or layer.",
    405: "The path exists, with another method.",
    408: "The body took too long to arrive.",
    409: "In conflict with what is there.",
    413: "Larger than a limit.",
    415: "A type of body that this route does not read.",
    429: "The queue is full; Retry-After says when to come again.",
    500: "A fault of the server; the sentence has an id that is also in its log.",
    501: "Not implemented.",
    503: "The model, or the server, cannot answer now.",
    504: "The deadline of the request passed before it was run.",
}


def documented(
    answer: type[BaseModel] | type[list[Any]], description: str, *errors: int
) -> dict[int | str, dict[str, Any]]:
    """The responses of a route for the documentation: the good one, then each possible error."""
    faults = {code: documented_error(code) for code in (*errors, 400, 405, 500)}
    return {200: _response(_schema(answer), description), **dict(sorted(faults.items()))}


def documented_error(code: int) -> dict[str, Any]:
    """One error for the documentation."""
    return _response(_schema(Error), _ERRORS[code])


def watch_of(model: Model) -> Watch:
    """The watch over a version; NotFound says why there is none."""
    if model.watch is None:
        reason = (
            "its bundle has no baseline"
            if model.manifest.baseline is None
            else "watching is switched off (FOLDSERVE_DRIFT_SAMPLE=0)"
        )
        raise NotFound(f"model '{model.name}' version {model.version}: no drift, {reason}")
    return model.watch


def json_body(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """A body in JSON for the documentation of a route that reads it as bytes."""
    content = {"application/json": {"schema": _schema(model)}}
    return {"requestBody": {"required": required, "content": content}}


def _response(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _schema(answer: type[BaseModel] | type[list[Any]]) -> dict[str, Any]:
    """By name: to build the models takes a while, and only the documentation needs them."""
    if get_origin(answer) is list:
        return {"type": "array", "items": _schema(*get_args(answer))}
    return {"$ref": f"#/components/schemas/{answer.__name__}"}


def layer_parameter() -> dict[str, Any]:
    """A layer's name at the end of a path, for the documentation."""
    return {
        "name": "layer",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "Name of the layer in the original network.",
        "example": "features.1",
    }


def add_model_route(
    router: APIRouter, method: str, suffix: str, handler: Handler, **documentation: Any
) -> None:
    """Routes `handler` for the latest ready version of a model, and for one that is named."""

    async def latest(request: Request, model_name: ModelName) -> Response:
        return await handler(request, context_of(request).registry.get(model_name))

    async def version(
        request: Request, model_name: ModelName, model_version: ModelVersion
    ) -> Response:
        model = context_of(request).registry.get(model_name, model_version)
        return await handler(request, model)

    summary, name = documentation.pop("summary"), handler.__name__
    path, description = "/v2/models/{model_name}", handler.__doc__
    for endpoint, place, words, operation in (
        (latest, path, summary, name),
        (version, f"{path}/versions/{{model_version}}", f"{summary}, one version", f"{name}_v"),
    ):
        router.add_api_route(
            place + suffix,
            endpoint,
            methods=[method],
            summary=words,
            description=description,
            operation_id=operation,
            response_model=None,
            **documentation,
        )
