"""Live traffic against what the network was normalized for, layer by layer."""

import math

from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of, json_response
from service.api.routing import Router, add_model_route, documented, watch_of
from service.errors import InvalidRequest, NotFound, shorten
from service.model import Model

router = Router("Drift")

_LONGEST_S = 1e9
_WINDOW = {
    "parameters": [
        {
            "name": "window",
            "in": "query",
            "required": False,
            "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_S},
            "description": "Seconds of traffic to look at; default: all that is kept.",
        }
    ]
}


async def drift(request: Request, model: Model) -> Response:
    """The verdict on the sampled traffic of all workers, and every layer's scores.

    `mean_shift` and `variance_shift` are effect sizes without the part that chance explains;
    significances are in units of the threshold. An alarm needs both.
    """
    watch, seconds = watch_of(model), _window(request)
    control = context_of(request).control
    return json_response(await control.traffic.drift(model, watch, seconds))


async def drift_layer(request: Request, model: Model) -> Response:
    """One layer's scores, and mean and deviation of all its channels, live and in the baseline."""
    watch, seconds = watch_of(model), _window(request)
    name = request.path_params["layer"]
    control = context_of(request).control
    if name not in watch.baseline.places:
        raise NotFound(
            f"model '{model.name}': expected one of the {len(watch.baseline.layers)} layers that "
            f"are watched, got '{shorten(name)}'"
        )
    return json_response(await control.traffic.drift_of_layer(model, watch, name, seconds))


async def drift_history(request: Request, model: Model) -> Response:
    """The effect sizes of every layer in each of the windows that are kept, the oldest first.

    A window is judged by itself, and a window in which nothing was sampled is not listed. Lists by
    layer are in the order of `layers`, and empty where the verdict is `insufficient`.
    """
    watch = watch_of(model)
    return json_response(await context_of(request).control.traffic.history(model, watch))


async def drift_reset(request: Request, model: Model) -> Response:
    """Forgets the traffic so far, in all workers: a new window begins."""
    watch_of(model)
    await context_of(request).control.traffic.reset(model)
    return json_response({"model_name": model.name, "model_version": str(model.version)})


def _window(request: Request) -> float | None:
    text = request.query_params.get("window")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_S:
        raise InvalidRequest(
            f"query parameter 'window': expected seconds above 0, got '{shorten(text)}'"
        )
    return seconds


add_model_route(
    router,
    "GET",
    "/drift",
    drift,
    summary="How far traffic has moved",
    responses=documented("Drift", "The verdict, and every layer.", 400, 404, 503),
    extra=_WINDOW,
)
add_model_route(
    router,
    "GET",
    "/drift/layers/{layer:path}",
    drift_layer,
    summary="One layer's channels, live and in the baseline",
    responses=documented("DriftOfLayer", "Scores and channels.", 400, 404, 503),
    extra=_WINDOW,
)
add_model_route(
    router,
    "GET",
    "/drift/history",
    drift_history,
    summary="Drift over time",
    responses=documented("DriftHistory", "One entry a window.", 404, 503),
)
add_model_route(
    router,
    "POST",
    "/drift/reset",
    drift_reset,
    summary="Begins a new window of traffic",
    responses=documented("DriftReset", "What was reset.", 401, 403, 404, 503),
)
