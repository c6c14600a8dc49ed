"""The model configuration extension of V2: a model in the words of Triton's configuration."""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api import operation_schemas as schemas
from service.api.dependencies import context_of, json_response
from service.api.routing import PLATFORM, add_model_route, documented
from service.model import Model
from service.tensors import TensorSpec

router = APIRouter(tags=["Open Inference Protocol V2"])


async def configuration(request: Request, model: Model) -> Response:
    """What clients such as perf_analyzer ask before they send a load.

    Of a model that takes pictures, the parameter `preprocessing` says, as JSON in a string, how
    they become its input.
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
    if (pictures := model.manifest.preprocessing) is not None:
        answer["parameters"] = {"preprocessing": {"string_value": pictures.model_dump_json()}}
    if largest > 1:
        answer["dynamic_batching"] = {}
    return json_response(answer)


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
    responses=documented(schemas.ModelConfig, "In Triton's words.", 404, 503),
)
