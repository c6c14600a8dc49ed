"""The signatures of known changes: the direction in which each moves all layers, and the filter
that tells it best from how pictures differ anyway.

A filter is Σ⁻¹δ (Fisher 1936): δ is what the change does to the same pictures, Σ the covariance of
single pictures over all channels, with a multiple of the identity added, since there are fewer
pictures than channels. How much is chosen by cross-validation, for each change: what a filter says
of pictures that it was not made of is what chance is judged by.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import LayerBaseline
from service.drift.changes import Signatures
from training.baseline.measure import BLOCK, FLOOR_QUANTILE
from training.baseline.rows import ProbeRows

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

LEAST_GROUPS = 100
MOST_ROWS = 1_000  # of which the covariance is
FOLDS = 5
LEAST_FLOOR = 0.25
LEAST_CHANCE = 0.01
SEED = 20150211
LEAST_LENGTH = 1e-6  # of a direction, squared, where the chance of one image has one a layer
# What is added to the covariance, in shares of its trace.
SHRINKAGE = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)


def make_signatures(
    layers: tuple[LayerBaseline, ...],
    rows: ProbeRows,
    found: Mapping[str, Float64],
    groups: NDArray[np.generic],
) -> Signatures | None:
    """The signatures of changes, whose directions [F] are `found`: of those that do something to
    these pictures; None where none does."""
    scale = _scale(layers)
    with np.errstate(all="ignore"):
        lengths = {name: float(((moved * scale) ** 2).sum()) for name, moved in found.items()}
    changes = tuple(name for name in found if LEAST_LENGTH < lengths[name] < math.inf)
    chosen = some(len(groups), MOST_ROWS)
    numbers = np.unique(groups[chosen], return_inverse=True)[1]
    if not changes or numbers.max() + 1 < LEAST_GROUPS:
        return None
    directions = np.stack([found[name] for name in changes])
    problem = _Problem(_features(layers, rows, chosen) * scale, directions * scale)
    filters, amounts = problem.solve(numbers % FOLDS)
    spread = np.sqrt((amounts**2).mean(axis=1))
    standard = amounts / spread[:, np.newaxis]
    mean_filter, influence_filter = np.split((filters * scale).astype(np.float32), 2, axis=1)
    mean_direction, influence_direction = np.split(directions.astype(np.float32), 2, axis=1)
    return Signatures(
        changes,
        mean_filter,
        influence_filter,
        mean_direction,
        influence_direction,
        spread,
        (standard**3).mean(axis=1),
        (standard**4).mean(axis=1) - 3,
        _floors(amounts, spread),
    )


def _floors(amounts: Float64, spread: Float64) -> Float64:
    """How far blocks of the reference, as it came, are from the whole, beyond chance [K]: the 99th
    percentile, as of the layers' floors; `amounts` [K, N]."""
    size = min(BLOCK, amounts.shape[1] // 5)
    blocks = amounts[:, : amounts.shape[1] // size * size].reshape(len(amounts), -1, size)
    beyond = blocks.mean(axis=2) ** 2 - spread[:, np.newaxis] ** 2 / size
    floors: Float64 = np.quantile(np.sqrt(np.maximum(beyond, 0)), FLOOR_QUANTILE, axis=1)
    return np.maximum(floors, LEAST_FLOOR)


def direction(
    layers: tuple[LayerBaseline, ...], rows: ProbeRows, images: Indices, changed: ProbeRows
) -> Float64:
    """What a change does to the means of all F features: of some of the images as they are in
    `rows`, and as they are `changed`."""
    means, influences = [], []
    with np.errstate(all="ignore"):  # what is changed may overflow
        for layer in layers:
            m, q = (
                after[layer.name].mean(axis=0, dtype=np.float64)
                - before[layer.name][images].mean(axis=0, dtype=np.float64)
                for after, before in ((changed.means, rows.means), (changed.squares, rows.squares))
            )
            means.append(m)
            influences.append(q - 2 * layer.mean * m)
    return np.concatenate([*means, *influences])


def some(count: int, most: int) -> Indices:
    """At most so many of `count` places, at random, in their order."""
    return np.sort(np.random.default_rng(SEED).permutation(count)[:most])


class _Problem:
    """Pictures X [N, F] and directions D [K, F], each feature in units of its own chance. All is
    done with inner products: there are far fewer pictures than features."""

    def __init__(self, pictures: Float64, directions: Float64) -> None:
        self._pictures, self._directions = pictures, directions
        single = pictures.astype(np.float32)
        self._gram = (single @ single.T).astype(np.float64)  # [N, N]
        self._along = pictures @ directions.T  # [N, K]
        self._squares = (directions**2).sum(axis=1)  # [K]

    def solve(self, folds: Indices) -> tuple[Float64, Float64]:
        """Of every direction the filter [K, F], whose answer to the direction is 1; and what such
        filters say of the pictures in one of the folds, made of the others, [K, N]."""
        tried = np.stack([self._of_others(folds, share) for share in SHRINKAGE])  # [S, K, N]
        best = (tried**2).mean(axis=2).argmin(axis=0)
        amounts = tried[best, np.arange(len(best))]
        everything = np.arange(len(self._gram))
        filters = []
        for k, index in enumerate(best):
            weights, added = self._weights(everything, SHRINKAGE[index])
            found = (self._directions[k] - self._pictures.T @ weights[:, k]) / added
            filters.append(found / (found @ self._directions[k]))
        return np.stack(filters), amounts

    def _of_others(self, folds: Indices, share: float) -> Float64:
        amounts = np.empty((len(self._squares), len(folds)))
        for fold in np.unique(folds):
            own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            weights, _ = self._weights(others, share)
            answers = self._along[own] - self._gram[np.ix_(own, others)] @ weights
            whole = self._squares - (self._along[others] * weights).sum(axis=0)
            amounts[:, own] = (answers / whole).T
        return amounts

    def _weights(self, images: Indices, share: float) -> tuple[Float64, float]:
        """α [N, K] with which Σ⁻¹D = (D - Xᵀα)/added, for Σ = XᵀX/N + added·1 (Woodbury)."""
        gram = self._gram[np.ix_(images, images)]
        added = share * float(np.trace(gram)) / len(images)
        system = gram + len(images) * added * np.eye(len(images))
        return np.asarray(np.linalg.solve(system, self._along[images]), np.float64), added


def _scale(layers: tuple[LayerBaseline, ...]) -> Float64:
    """What brings each feature to its own chance, so that a layer counts as one, [F]; 0 for
    channels that take no part.

    A channel that hardly ever fires has next to no chance in the reference, and an image in which
    it does would count for thousands: chance is at least a hundredth of the layer's median.
    """
    parts: tuple[list[Float64], list[Float64]] = ([], [])
    for layer in layers:
        for part, spread in zip(parts, (layer.mean_spread, layer.var_spread), strict=True):
            scale, used = np.zeros(len(spread)), spread[layer.used]
            if used.size:
                used = used + LEAST_CHANCE * np.median(used)
                scale[layer.used] = 1 / np.sqrt(used * used.size)
            part.append(scale)
    return np.concatenate([*parts[0], *parts[1]])


def _features(layers: tuple[LayerBaseline, ...], rows: ProbeRows, images: Indices) -> Float64:
    """How far each image's means are from μ₀, and its influences on the variance from theirs, over
    all layers, [N, F]."""
    means, influences = [], []
    for layer in layers:
        held = rows.means[layer.name], rows.squares[layer.name]
        m, q = (values[images].astype(np.float64) for values in held)
        means.append(m - layer.mean)
        influences.append(q - 2 * layer.mean * m - (layer.var - layer.mean**2))
    return np.concatenate([*means, *influences], axis=1)
