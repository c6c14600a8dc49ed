"""By what the thresholds have to grow, so that false alarms are as rare as they should be.

Windows are drawn from one half of the reference and held against the moments of the other: what is
rare in a channel may be in the traffic and not in the reference. One division into halves would be
one draw of how far two halves differ, so there are several. Images that belong together are in one
half.

Each layer's thresholds grow by themselves: channels that hardly ever fire, in the depth of large
networks, are far from normal for few images, and need not make the first layers blind.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import LayerBaseline
from service.drift.scores import shifts, thresholds
from training.baseline.moments import moments
from training.baseline.rows import ProbeRows, Rows

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

LEVEL = 0.01  # of false alarms, for which windows are calibrated
WINDOW_SIZES = {5: 2_000, 10: 2_000, 20: 2_000, 50: 1_000, 100: 1_000, 300: 1_000}  # how many
DIVISIONS = 10  # into halves
_LARGE = 50  # images
SEED = 20150211


def calibrate(
    layers: tuple[LayerBaseline, ...], rows: ProbeRows, groups: Indices
) -> tuple[LayerBaseline, ...]:
    """The layers with the growth of their thresholds; `groups` [N] are numbered from 0.

    For each size of a window: the quantile 1 - LEVEL of every significance by itself, all together
    times what the largest of their shares of it stays below as often; at least 1.
    """
    halves = list(_halves(groups))
    random = np.random.default_rng(SEED + 1)
    sizes = [size for size in WINDOW_SIZES if 4 * size <= len(groups)]
    drawn = {size: [_draw(random, other, size) for _, other in halves] for size in sizes}
    found: dict[int, list[Float64]] = {size: [] for size in sizes}  # [2, W] of each layer
    for layer in layers:
        known = [_moments_of(layer, rows, half) for half, _ in halves]
        for size in sizes:
            shares = [
                _shares(half, rows, chosen, len(np.unique(groups[images])), len(layers))
                for half, (images, _), chosen in zip(known, halves, drawn[size], strict=True)
            ]
            found[size].append(np.concatenate(shares, axis=1))
    growths = {size: _growth(np.stack(found[size])) for size in sizes}
    return tuple(
        replace(layer, calibration=tuple((size, *growths[size][index]) for size in sizes))
        for index, layer in enumerate(layers)
    )


def _growth(shares: Float64) -> list[tuple[float, float]]:
    """The factors (mean, variance) of every layer; `shares` [layers, 2, windows] are significances
    as shares of their thresholds."""
    own = np.quantile(shares, 1 - LEVEL, axis=2)
    largest = (shares / np.maximum(own, 1e-9)[..., np.newaxis]).max(axis=(0, 1))
    factors = np.maximum(1.0, own * np.quantile(largest, 1 - LEVEL))
    return [(float(mean), float(variance)) for mean, variance in factors]


def _halves(groups: Indices) -> Iterator[tuple[Indices, Indices]]:
    """The images of one half and of the other, both ways, for several divisions of the groups."""
    random = np.random.default_rng(SEED)
    count = int(groups.max()) + 1
    for _ in range(DIVISIONS):
        first = (random.permutation(count) < count // 2)[groups]
        yield np.flatnonzero(first), np.flatnonzero(~first)
        yield np.flatnonzero(~first), np.flatnonzero(first)


def _draw(random: np.random.Generator, images: Indices, size: int) -> Indices:
    """Windows of so many of the images, [W, size]."""
    return random.choice(images, (WINDOW_SIZES[size] // (2 * DIVISIONS), size))


def _moments_of(layer: LayerBaseline, rows: ProbeRows, images: Indices) -> LayerBaseline:
    """The layer as half of the reference shows it."""
    m, q = (held[layer.name][images].astype(np.float64) for held in (rows.means, rows.squares))
    half = moments(layer.name, m, q, layer.scale)
    return replace(half, mean_degrees=layer.mean_degrees, var_degrees=layer.var_degrees)


def _shares(
    half: LayerBaseline, rows: ProbeRows, chosen: Indices, known: int, layers: int
) -> Float64:
    """The significances of mean and variance of windows [W, n] as shares of their thresholds,
    [2, W]; `known` images, or groups, are in the half that they are held against."""
    means, squares = (_window_means(held[half.name], chosen) for held in (rows.means, rows.squares))
    moved = shifts(half, means, squares, 1 / chosen.shape[1] + 1 / known)
    limits = thresholds(half, 1 - LEVEL / (2 * layers))
    shares: Float64 = np.stack(moved.significances()) / np.array(limits)[:, np.newaxis]
    return shares


def _window_means(rows: Rows, chosen: Indices) -> Float64:
    """The mean of each window's rows, [W, C]: by a product where windows are large, and one image
    of each after another where they are small; either way without all rows in memory at once."""
    windows, size = chosen.shape
    if size >= _LARGE:
        images, places = np.unique(chosen, return_inverse=True)
        counts: Float64 = np.zeros((windows, len(images)))
        np.add.at(counts, (np.arange(windows)[:, np.newaxis], places.reshape(chosen.shape)), 1)
        total: Float64 = counts @ rows[images].astype(np.float64)
    else:
        total = np.zeros((windows, rows.shape[1]))
        for column in chosen.T:
            total += rows[column]
    total /= size
    return total
