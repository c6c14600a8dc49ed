"""What one input does to every layer."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import Context, context_of, json_response
from service.api.nonfinite import Nonfinite
from service.api.predictions import PREDICTION_BODY, predictions_of, read_rows
from service.api.routing import RUN_ERRORS, Router, add_model_route, documented, watch_of
from service.errors import InvalidRequest, QueueFull
from service.model import Model
from service.tensors import Array
from service.watch import MOST_INSPECTIONS, Watch

router = Router("Drift")

_RETRY_AFTER_S = 1.0


async def inspect(request: Request, model: Model) -> Response:
    """The prediction for one picture, or for one of `instances`, and how far each layer's channels
    are from the baseline's on this input.

    It takes what `/predict` takes, and is not counted as traffic. `mean_distance` is the squared
    standardized Euclidean distance by channel (Mahalanobis's, with a diagonal covariance): about 1
    for the images of the baseline, 99.9 % of which are below `limit`.
    """
    watch = watch_of(model)
    inputs, top_k = await read_rows(request, model)
    if (rows := len(next(iter(inputs.values())))) != 1:
        raise InvalidRequest(f"request body: expected one input to inspect, got {rows}")
    outputs = await model.predict(inputs, traffic=False)
    found = await _inspected(context_of(request), watch, inputs)
    nonfinite = Nonfinite(0, found["first_nonfinite"])
    return json_response(
        {
            "model_name": model.name,
            "model_version": str(model.version),
            "predictions": predictions_of(model, outputs, top_k, nonfinite),
            **found,
        }
    )


async def _inspected(context: Context, watch: Watch, inputs: dict[str, Array]) -> dict[str, Any]:
    if not watch.inspections.acquire(blocking=False):
        raise QueueFull(
            f"expected at most {MOST_INSPECTIONS} inputs to be inspected at once", _RETRY_AFTER_S
        )
    running = context.executor.submit(watch.inspect, inputs)
    # When it has ended, not when the caller has left.
    running.add_done_callback(lambda _: watch.inspections.release())
    return await asyncio.wrap_future(running)


add_model_route(
    router,
    "POST",
    "/inspect",
    inspect,
    summary="What one input does to every layer",
    responses=documented("Inspection", "Predictions, and every layer.", *RUN_ERRORS),
    extra=PREDICTION_BODY,
)
