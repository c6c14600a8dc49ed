"""What every normalization layer of a model holds, under its own name, and where it went."""

import asyncio

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from service.api.dependencies import context_of, json_response
from service.api.routing import Router, add_model_route, documented
from service.bundle import BASELINE_FIELDS, FROZEN_FIELDS, MOVING_FIELDS, Statistics
from service.errors import NotFound, shorten
from service.manifest import Layer
from service.model import Model
from service.tensors import Array

router = Router("Normalization")

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_DEAD = 1e-3  # of the median |scale|: a channel that hardly speaks
_LISTED = 10  # names in a message


async def normalization(request: Request, model: Model) -> Response:
    """Every normalization layer in network order, in summary, and the bundle's promises."""
    executor = context_of(request).executor
    return await asyncio.get_running_loop().run_in_executor(executor, _report, model)


async def normalization_layer(request: Request, model: Model) -> Response:
    """One layer with its arrays, one value a channel."""
    name = request.path_params["layer"]
    layers = {layer.name: layer for layer in model.bundle.layers}
    if name not in layers:
        listed = ", ".join(list(layers)[:_LISTED]) or "none"
        more = f" and {len(layers) - _LISTED} more" if len(layers) > _LISTED else ""
        raise NotFound(
            f"model '{model.name}': expected one of the layers {listed}{more}; "
            f"got '{shorten(name)}'"
        )
    statistics = model.bundle.statistics[name]
    report: dict[str, object] = {
        "model_name": model.name,
        "model_version": str(model.version),
        **_layer(layers[name], statistics),
        "frozen": {field: _plain(statistics[field]) for field in FROZEN_FIELDS},
    }
    if all(field in statistics for field in MOVING_FIELDS):
        mean, var = (_plain(statistics[field]) for field in MOVING_FIELDS)
        report["moving"] = {"mean": mean, "var": var}
    if (words := layers[name].baseline) is not None:
        vectors = {f.removeprefix("baseline_"): _plain(statistics[f]) for f in BASELINE_FIELDS}
        report["baseline"] = words.model_dump() | vectors
    return json_response(report)


def _report(model: Model) -> Response:
    here = model.checks_here
    return json_response(
        {
            "model_name": model.name,
            "model_version": str(model.version),
            "checks": {
                "built": model.manifest.checks.model_dump(),
                "here": {
                    "frozen": here.frozen.model_dump(),
                    "batch_invariant": here.batch_invariant.model_dump(),
                },
            },
            "row_by_row": model.row_by_row,
            "forced": list(model.manifest.forced),
            "layers": [
                _layer(layer, model.bundle.statistics[layer.name]) for layer in model.bundle.layers
            ],
        }
    )


def _layer(layer: Layer, statistics: Statistics) -> dict[str, object]:
    magnitude = np.abs(statistics["scale"])
    return {
        **layer.model_dump(exclude={"probe", "baseline"}),
        "dead_channels": np.flatnonzero(magnitude < _DEAD * np.median(magnitude)).tolist(),
        "summaries": {field: _summary(statistics[field]) for field in FROZEN_FIELDS},
    }


def _summary(values: Array) -> dict[str, object]:
    wide = values.astype(np.float64)
    quantiles = np.quantile(wide, _QUANTILES)
    return {
        "min": float(wide.min()),
        "max": float(wide.max()),
        "mean": float(wide.mean()),
        "quantiles": {str(q): float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)},
    }


def _plain(values: Array) -> Array:
    return np.ascontiguousarray(values)


add_model_route(
    router,
    "GET",
    "/normalization",
    normalization,
    summary="All normalization layers",
    responses=documented("NormalizationReport", "Layers and checks.", 404, 503),
)
add_model_route(
    router,
    "GET",
    "/normalization/{layer:path}",
    normalization_layer,
    summary="One normalization layer",
    responses=documented("LayerArrays", "The layer's arrays.", 404, 503),
)
