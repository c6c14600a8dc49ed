"""One image beside the baseline: what it does to every layer.

With m and q the image's own mean and mean square of a channel, the standard scores are

    z_m = (m - μ₀) / √S_m            z_ψ = (q - 2·μ₀·m + μ₀² - v₀) / √S_ψ

and a layer's distances are the averages of z² over its channels: the squared standardized Euclidean
distance (Mahalanobis's, with a diagonal covariance) by channel, about 1 for images like those of
the reference. The distance of the means is calibrated: 99.9 % of the reference stay below a limit.
"""

from typing import Any

import numpy as np

from service.drift.baseline import Baseline, LayerBaseline, Vector

_TOP = 5  # channels that are listed of a layer

Plain = dict[str, Any]


def describe_image(mean: Vector, mean_square: Vector, baseline: Baseline) -> Plain:
    """One image as JSON's own types; its channels' means and mean squares, [channels]."""
    wide, squares = mean.astype(np.float64), mean_square.astype(np.float64)
    with np.errstate(all="ignore"):  # of layers that are not finite
        unlikeness = float(baseline.unlikeness(wide[None])[0])
        layers = [
            _layer(layer, wide[baseline.places[layer.name]], squares[baseline.places[layer.name]])
            for layer in baseline.layers
        ]
    bad = first_nonfinite(wide, squares, baseline)
    return {
        "outlier": bad is not None or unlikeness > baseline.image_limit,
        "unlikeness": unlikeness,
        "unlikeness_limit": baseline.image_limit,
        "first_nonfinite": bad,
        "baseline": {"kind": baseline.kind, "images": baseline.images},
        "layers": layers,
    }


def first_nonfinite(mean: Vector, mean_square: Vector, baseline: Baseline) -> str | None:
    """The first layer, in network order, that is not finite on an image."""
    finite = np.isfinite(mean) & np.isfinite(mean_square)
    for name, place in baseline.places.items():
        if not finite[place].all():
            return name
    return None


def _layer(layer: LayerBaseline, mean: Vector, mean_square: Vector) -> Plain:
    used, size = layer.used, len(mean)
    away = mean - layer.mean
    spread = mean_square - mean**2 + away**2 - layer.var
    scores, spreads = np.zeros(size), np.zeros(size)
    scores[used] = away[used] / np.sqrt(layer.mean_spread[used])
    spreads[used] = spread[used] / np.sqrt(layer.var_spread[used])
    distance, limit = float(layer.distances(mean[None])[0]), layer.distance
    most = np.argsort(-np.abs(scores), kind="stable")[:_TOP]
    return {
        "name": layer.name,
        "mean_distance": distance,
        "variance_distance": float((spreads[used] ** 2).mean()) if used.any() else 0.0,
        "limit": limit if limit > 0 else None,
        "beyond": not distance <= limit if limit > 0 else None,
        "top_channels": [
            {
                "channel": int(index),
                "standard_score": float(scores[index]),
                "mean": float(mean[index]),
                "std": float(np.sqrt(max(0.0, mean_square[index] - mean[index] ** 2))),
                "baseline_mean": float(layer.mean[index]),
                "baseline_std": float(np.sqrt(layer.var[index])),
            }
            for index in most
            if used[index]
        ],
    }
