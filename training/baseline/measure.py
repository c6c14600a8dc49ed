"""The baseline measured on images: moments, effective degrees of freedom, floors."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import Baseline, LayerBaseline
from service.drift.scores import score_layers
from service.drift.window import Window
from training.baseline.calibrate import LEVEL, calibrate
from training.baseline.moments import moments
from training.baseline.rows import ProbeRows, Rows
from training.errors import UnusableInput

Float64 = NDArray[np.float64]

LEAST_IMAGES = 30
LEAST_FLOOR = 0.05
BLOCK = 100  # images whose shift from all others is taken as natural
FLOOR_QUANTILE, DISTANCE_QUANTILE = 0.99, 0.999
_LEAST_LIMIT = 1e-6
_PARTS = 10  # each of which is compared with the others
IMAGE_RATE = 0.01  # of the reference images themselves that are called outliers


def measure(
    rows: ProbeRows, scales: Mapping[str, Rows], groups: NDArray[np.generic] | None = None
) -> Baseline:
    """The baseline of images of the reference; `scales` are the layers' own γ, [C] each, and
    `groups` [N] tells which images belong together.

    Raises UnusableInput for fewer than 30 images (or groups), or where a layer is not finite on
    them.
    """
    images = len(rows)
    if groups is not None and len(groups) != images:
        raise UnusableInput(f"baseline: expected {images} groups, one an image, got {len(groups)}")
    numbers = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = len(np.unique(numbers))
    if count < LEAST_IMAGES:
        what = "images" if groups is None else "groups of images"
        raise UnusableInput(f"baseline: expected at least {LEAST_IMAGES} {what}, got {count}")
    layers = tuple(
        _measure_layer(name, rows.means[name], rows.squares[name], scales[name])
        for name in rows.means
    )
    classes = None
    if rows.predicted is not None:
        classes = tuple(np.bincount(rows.predicted, minlength=rows.classes).tolist())
    layers = calibrate(layers, rows, numbers)
    baseline = Baseline("measured", count, layers, 1.0, IMAGE_RATE, classes)
    baseline = replace(baseline, layers=_with_floors(baseline, rows))
    return replace(baseline, image_limit=_image_limit(baseline, rows, numbers))


def _measure_layer(name: str, means: Rows, squares: Rows, scale: Rows) -> LayerBaseline:
    m, q = means.astype(np.float64), squares.astype(np.float64)
    if not (np.isfinite(m).all() and np.isfinite(q).all()):
        raise UnusableInput(f"baseline: layer '{name}' is not finite on the images given")
    layer = moments(name, m, q, scale)
    influence = q - 2 * layer.mean * m
    return replace(
        layer,
        mean_degrees=effective_degrees(m[:, layer.used]),
        var_degrees=effective_degrees(influence[:, layer.used]),
        distance=float(np.quantile(layer.distances(m), DISTANCE_QUANTILE)),
    )


def effective_degrees(rows: Float64) -> float:
    """C² / Σ R² of the channels' correlation R over the rows [N, C] (Satterthwaite 1946).

    Without the part of Σ R² that chance alone would give to independent channels.
    """
    count, channels = rows.shape
    if channels == 0:
        return 1.0
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    correlation = standard.T @ standard / count
    squares = correlation**2
    squares -= (1 - squares) / (count - 2)
    np.fill_diagonal(squares, 1.0)
    return float(np.clip(channels**2 / squares.sum(), 1.0, channels))


def _blocks(baseline: Baseline, rows: ProbeRows) -> Iterator[Window]:
    """Disjoint blocks of the reference images, as they came."""
    images = len(rows.means[baseline.layers[0].name])
    size = min(BLOCK, images // 5)
    for start in range(0, images - size + 1, size):
        window = Window(baseline.channels)
        window.add(
            *(
                np.concatenate(
                    [held[x.name][start : start + size] for x in baseline.layers], axis=1
                )
                for held in (rows.means, rows.squares)
            )
        )
        yield window


def _with_floors(baseline: Baseline, rows: ProbeRows) -> tuple[LayerBaseline, ...]:
    """The floors: how far blocks of the reference itself are from the whole, beyond chance."""
    scores = [score_layers(window, baseline, LEVEL) for window in _blocks(baseline, rows)]
    floors = []
    for index in range(len(baseline.layers)):
        shifts = [(s[index].mean_shift, s[index].variance_shift) for s in scores]
        floors.append(np.maximum(np.quantile(shifts, FLOOR_QUANTILE, axis=0), LEAST_FLOOR))
    return tuple(
        replace(layer, mean_floor=float(mean), var_floor=float(var))
        for layer, (mean, var) in zip(baseline.layers, floors, strict=True)
    )


def _image_limit(baseline: Baseline, rows: ProbeRows, groups: NDArray[np.int64]) -> float:
    """What 99 % of the images' unlikeness stays below, each against the distances of others, of
    other groups: among the few that a small baseline has, a layer's largest is one of its own."""
    watched = [layer for layer in baseline.layers if layer.distance > 0]
    if not watched:
        return _LEAST_LIMIT
    distances = np.stack([x.distances(rows.means[x.name].astype(float)) for x in watched], axis=1)
    unlikeness = np.empty(len(distances))
    parts = groups % _PARTS
    for part in range(_PARTS):
        own = parts == part
        limits = np.quantile(distances[~own], DISTANCE_QUANTILE, axis=0)
        unlikeness[own] = (distances[own] / np.maximum(limits, _LEAST_LIMIT)).max(axis=1)
    return max(float(np.quantile(unlikeness, 1 - IMAGE_RATE)), _LEAST_LIMIT)
