"""The table of routes: what is called, and what the documentation says of it.

The routes of a model have two paths each; all have documented errors.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.dependencies import context_of
from service.errors import NotFound
from service.model import Model
from service.watch import Watch

Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Request, Model], Awaitable[Response]]

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


@dataclass(frozen=True, slots=True)
class Entry:
    """A route of the table; `operation` is what OpenAPI says of it, None where it says nothing."""

    method: str
    path: str
    endpoint: Endpoint
    operation: Mapping[str, Any] | None

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it: parameters without their kind."""
        return re.sub(r":\w+}", "}", self.path)

    def route(self) -> Route:
        """As the framework wants it. HEAD is not answered, which it would add to GET."""
        route = Route(self.path, self.endpoint, methods=[self.method])
        route.methods = {self.method}
        return route


class Router:
    """The routes of a subject, which the documentation calls `tag`; in order, the first counts."""

    def __init__(self, tag: str = "") -> None:
        self.entries: list[Entry] = []
        self._tag = tag

    def get(self, path: str, **documentation: Any) -> Callable[[Endpoint], Endpoint]:
        """Routes a function, documented as by `add`."""
        return lambda endpoint: self.add("GET", path, endpoint, **documentation)

    def post(self, path: str, **documentation: Any) -> Callable[[Endpoint], Endpoint]:
        """Routes a function, documented as by `add`."""
        return lambda endpoint: self.add("POST", path, endpoint, **documentation)

    def add(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        summary: str = "",
        name: str = "",
        description: str | None = None,
        responses: Mapping[int, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Endpoint:
        """Routes `endpoint`, which comes back; without a `summary` it is not documented.

        Its name and its docstring are the operation's, unless others are given; `extra` has its
        body, and its parameters beside those of the path.
        """
        operation = {
            "tags": [self._tag],
            "summary": summary,
            "description": inspect.cleandoc(description or endpoint.__doc__ or ""),
            "operationId": name or getattr(endpoint, "__name__", ""),
            **(extra or {}),
            "responses": {str(status): answer for status, answer in (responses or {}).items()},
        }
        self.entries.append(Entry(method, path, endpoint, operation if summary else None))
        return endpoint


def documented(
    answer: str, description: str, *errors: int, many: bool = False
) -> dict[int, dict[str, Any]]:
    """The responses of a route for the documentation: the good one, then each possible error.

    `answer` names a model of the wire, or what there are `many` of. To build the models takes a
    while, and only the documentation needs them.
    """
    faults = {code: documented_error(code) for code in (*errors, 400, 405, 500)}
    schema = {"type": "array", "items": _schema(answer)} if many else _schema(answer)
    return {200: _response(schema, description), **dict(sorted(faults.items()))}


def documented_error(code: int) -> dict[str, Any]:
    """One error for the documentation."""
    return _response(_schema("Error"), _ERRORS[code])


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


def json_body(model: str, required: bool = True) -> dict[str, Any]:
    """A body in JSON for the documentation of a route that reads it as bytes."""
    content = {"application/json": {"schema": _schema(model)}}
    return {"requestBody": {"required": required, "content": content}}


def _response(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def add_model_route(
    router: Router, method: str, suffix: str, handler: Handler, *, summary: str, **more: Any
) -> None:
    """Routes `handler` for the latest ready version of a model, and for one that is named."""

    async def latest(request: Request) -> Response:
        model = context_of(request).registry.get(request.path_params["model_name"])
        return await handler(request, model)

    async def version(request: Request) -> Response:
        names = request.path_params
        model = context_of(request).registry.get(names["model_name"], names["model_version"])
        return await handler(request, model)

    path, more["description"] = "/v2/models/{model_name}", handler.__doc__
    for endpoint, place, words, name in (
        (latest, path, summary, handler.__name__),
        (
            version,
            f"{path}/versions/{{model_version}}",
            f"{summary}, one version",
            f"{handler.__name__}_v",
        ),
    ):
        router.add(method, place + suffix, endpoint, summary=words, name=name, **more)
