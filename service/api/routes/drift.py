"""Live traffic against what the network was normalized for, layer by layer."""

import math

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api import drift_schemas as schemas
from service.api.dependencies import context_of, json_response
from service.api.routing import add_model_route, documented
from service.errors import InvalidRequest, NotFound, shorten
from service.model import Model
from service.watch import Watch

router = APIRouter(tags=["Drift"])

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
    watch, seconds = _watch(model), _window(request)
    control = context_of(request).control
    return json_response(await control.drift(model, watch, seconds))


async def drift_reset(request: Request, model: Model) -> Response:
    """Forgets the traffic so far, in all workers: a new window begins."""
    _watch(model)
    await context_of(request).control.reset_drift(model)
    return json_response({"model_name": model.name, "model_version": str(model.version)})


def _watch(model: Model) -> Watch:
    if model.watch is None:
        reason = (
            "its bundle has no baseline"
            if model.manifest.baseline is None
            else "watching is switched off (FOLDSERVE_DRIFT_SAMPLE=0)"
        )
        raise NotFound(f"model '{model.name}' version {model.version}: no drift, {reason}")
    return model.watch


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
    responses=documented(schemas.Drift, "The verdict, and every layer.", 400, 404, 503),
    openapi_extra=_WINDOW,
)
add_model_route(
    router,
    "POST",
    "/drift/reset",
    drift_reset,
    summary="Begins a new window of traffic",
    responses=documented(schemas.DriftReset, "What was reset.", 401, 403, 404, 503),
)
