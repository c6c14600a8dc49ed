"""The baseline measured on images: moments, effective degrees of freedom, floors, calibration."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import Baseline, LayerBaseline
from service.drift.scores import score_layers, shifts, thresholds
from service.drift.window import Window
from training.baseline.rows import ProbeRows, Rows
from training.errors import UnusableInput

Float64 = NDArray[np.float64]

LEAST_IMAGES = 30
DEFAULT_FLOOR, LEAST_FLOOR = 0.1, 0.05
BLOCK = 100  # images whose shift from all others is taken as natural
FLOOR_QUANTILE, DISTANCE_QUANTILE = 0.99, 0.999
_LEAST_LIMIT = 1e-6
_PARTS = 10  # each of which is compared with the others
IMAGE_RATE = 0.01  # of the reference images themselves that are called outliers
LEVEL = 0.01  # of false alarms, for which windows are calibrated
WINDOW_SIZES = {5: 4_000, 10: 4_000, 20: 4_000, 50: 1_000, 100: 1_000, 300: 1_000}  # how many
SEED = 20150211


def measure(rows: ProbeRows, scales: Mapping[str, Rows]) -> Baseline:
    """The baseline of images of the reference; `scales` are the layers' own γ, [C] each.

    Raises UnusableInput for fewer than 30 images, or where a layer is not finite on them.
    """
    images = len(next(iter(rows.means.values()), ()))
    if images < LEAST_IMAGES:
        raise UnusableInput(f"baseline: expected at least {LEAST_IMAGES} images, got {images}")
    layers = tuple(
        _measure_layer(name, rows.means[name], rows.squares[name], scales[name])
        for name in rows.means
    )
    classes = None
    if rows.predicted is not None:
        classes = tuple(np.bincount(rows.predicted, minlength=rows.classes).tolist())
    baseline = Baseline("measured", images, layers, 1.0, IMAGE_RATE, classes)
    baseline = replace(baseline, calibration=_calibrate(baseline, rows))
    baseline = replace(baseline, layers=_with_floors(baseline, rows))
    return replace(baseline, image_limit=_image_limit(baseline, rows))


def _measure_layer(name: str, means: Rows, squares: Rows, scale: Rows) -> LayerBaseline:
    m, q = means.astype(np.float64), squares.astype(np.float64)
    if not (np.isfinite(m).all() and np.isfinite(q).all()):
        raise UnusableInput(f"baseline: layer '{name}' is not finite on the images given")
    mean = m.mean(axis=0)
    var = np.maximum(q.mean(axis=0) - mean**2, 0.0)
    influence = q - 2 * mean * m
    layer = LayerBaseline(
        name,
        mean=mean,
        var=var,
        mean_spread=m.var(axis=0, ddof=1),
        var_spread=influence.var(axis=0, ddof=1),
        scale=scale.astype(np.float64),
        mean_degrees=1.0,
        var_degrees=1.0,
        mean_floor=DEFAULT_FLOOR,
        var_floor=DEFAULT_FLOOR,
        distance=0.0,
    )
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
    size = min(BLOCK, baseline.images // 5)
    for start in range(0, baseline.images - size + 1, size):
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


def _calibrate(baseline: Baseline, rows: ProbeRows) -> tuple[tuple[int, float], ...]:
    """By what the thresholds have to grow for windows of so many images to be beyond any of them as
    rarely as LEVEL says.

    Windows are drawn from one half of the reference and held against the moments of the other, both
    ways: what is rare in a channel may be in the traffic and not in the reference.
    """
    random = np.random.default_rng(SEED)
    first, second = np.array_split(random.permutation(baseline.images), 2)
    found = []
    for size, windows in WINDOW_SIZES.items():
        if 2 * size > len(second):
            continue
        worst = []
        for known, other in ((first, second), (second, first)):
            chosen = random.choice(other, (windows // 2, size))
            worst.append(_worst(baseline, rows, known, chosen))
        growth = float(np.quantile(np.concatenate(worst), 1 - LEVEL))
        found.append((size, max(1.0, growth)))
    return tuple(found)


def _worst(
    baseline: Baseline, rows: ProbeRows, known: NDArray[np.int64], chosen: NDArray[np.int64]
) -> Float64:
    """For each window of chosen images [W, n], the largest significance in any layer, as a share of
    its threshold; [W]. `known` are the images whose moments they are held against."""
    f = 1 / chosen.shape[1] + 1 / len(known)
    test = 1 - LEVEL / (2 * len(baseline.layers))
    worst: Float64 = np.zeros(len(chosen))
    for layer in baseline.layers:
        means, squares = rows.means[layer.name], rows.squares[layer.name]
        half = _measure_layer(layer.name, means[known], squares[known], layer.scale)
        m, q = (_window_means(held.astype(np.float64), chosen) for held in (means, squares))
        mean, variance = shifts(half, m, q, f).significances()
        limits = thresholds(half, test)
        worst = np.maximum(worst, np.maximum(mean / limits[0], variance / limits[1]))
    return worst


def _window_means(rows: Float64, chosen: NDArray[np.int64]) -> Float64:
    """The mean of each window's rows, [W, C], without all of them in memory at once."""
    total: Float64 = np.zeros((len(chosen), rows.shape[1]))
    for column in chosen.T:
        total += rows[column]
    total /= chosen.shape[1]
    return total


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


def _image_limit(baseline: Baseline, rows: ProbeRows) -> float:
    """What 99 % of the images' unlikeness stays below, each against the distances of others: among
    the few images that a small baseline has, a layer's largest distance is one of its own."""
    watched = [layer for layer in baseline.layers if layer.distance > 0]
    if not watched:
        return _LEAST_LIMIT
    distances = np.stack([x.distances(rows.means[x.name].astype(float)) for x in watched], axis=1)
    unlikeness = np.empty(len(distances))
    parts = np.arange(len(distances)) % _PARTS
    for part in range(_PARTS):
        own = parts == part
        limits = np.quantile(distances[~own], DISTANCE_QUANTILE, axis=0)
        unlikeness[own] = (distances[own] / np.maximum(limits, _LEAST_LIMIT)).max(axis=1)
    return max(float(np.quantile(unlikeness, 1 - IMAGE_RATE)), _LEAST_LIMIT)
