"""The model configuration extension of V2: a model in the words of Triton's configuration."""

from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of, json_response
from service.api.routing import PLATFORM, Router, add_model_route, documented
from service.manifest import Manifest
from service.model import Model
from service.tensors import TensorSpec

router = Router("Open Inference Protocol V2")


async def configuration(request: Request, model: Model) -> Response:
    """What clients such as perf_analyzer ask before they send a load.

    The parameters, each JSON in a string, say what `/predict` needs beside: `preprocessing`, how
    pictures become the input, where they do; and `labels`, the names of the classes.
    """
    free = model.inputs[0].shape[0] == -1
    largest = model.batch_sizes.largest if free else 0
    registry = context_of(request).registry
    answer: dict[str, object] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": registry.versions(model.name)}},
        "max_batch_size": largest,
        "input": _tensors(model.inputs, free),
        "output": _tensors(model.outputs, free),
        "response_cache": {"enable": False},
        "model_transaction_policy": {"decoupled": False},
    }
    if parameters := _parameters(model.manifest):
        answer["parameters"] = parameters
    if largest > 1:
        answer["dynamic_batching"] = {}
    return json_response(answer)


def _parameters(manifest: Manifest) -> dict[str, dict[str, str]]:
    """In Triton's form: a string each."""
    found: dict[str, str] = {}
    if manifest.preprocessing is not None:
        found["preprocessing"] = manifest.preprocessing.model_dump_json()
    if manifest.labels is not None:
        found["labels"] = orjson.dumps(manifest.labels).decode()
    return {name: {"string_value": value} for name, value in found.items()}


def _tensors(specs: Sequence[TensorSpec], free: bool) -> list[dict[str, object]]:
    """The dimensions are those of one row where batches are free."""
    return [
        {
            "name": spec.name,
            "data_type": "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}",
            "dims": spec.shape[1:] if free else spec.shape,
        }
        for spec in specs
    ]


add_model_route(
    router,
    "GET",
    "/config",
    configuration,
    summary="A model's configuration",
    responses=documented("ModelConfig", "In Triton's words.", 404, 503),
)
