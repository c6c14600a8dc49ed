"""How far a window of traffic is from the baseline: per layer, significance and size of effect.

With f = 1/n + 1/N, averages over the layer's channels:

    mean      T = avg (m - μ₀)² / (S_m·f)               d² = avg ((m - μ₀)²/v₀ - S_m/v₀·f)
    variance  T = avg (ln v/v₀)² / (S_ψ/v₀²·f)          r² = avg ((ln v/v₀)² - S_ψ/v₀²·f)

If nothing has moved, T is about χ²/df with the baseline's effective degrees of freedom, whatever n;
d and r are about zero. d is in standard deviations of the activation, r in units of ln σ².
"""

import math
from dataclasses import dataclass

import numpy as np

from service.drift import chi_squared
from service.drift.baseline import Baseline, LayerBaseline, Vector
from service.drift.changes import Moved
from service.drift.window import Window

# A live variance below this share of the baseline's is as good as zero.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, eq=False)
class LayerScore:
    """One layer of a window.

    `mean_shift` and `variance_shift` are d and r; the significances are T, to be compared with the
    thresholds; `contribution` [C] is each channel's part of d² + r², before the correction.
    """

    name: str
    mean_shift: float
    variance_shift: float
    mean_significance: float
    variance_significance: float
    mean_threshold: float
    variance_threshold: float
    mean_floor: float
    variance_floor: float
    contribution: Vector

    @property
    def significant(self) -> bool:
        """Whether chance alone would hardly bring it so far."""
        return (
            self.mean_significance > self.mean_threshold
            or self.variance_significance > self.variance_threshold
        )

    @property
    def alarm(self) -> bool:
        """Significant, and large enough to matter, in the same statistic."""
        return (
            self.mean_significance > self.mean_threshold and self.mean_shift > self.mean_floor
        ) or (
            self.variance_significance > self.variance_threshold
            and self.variance_shift > self.variance_floor
        )

    @property
    def effect(self) -> float:
        """The larger effect, in units of its floor."""
        return max(self.mean_shift / self.mean_floor, self.variance_shift / self.variance_floor)


def score_layers(window: Window, baseline: Baseline, level: float) -> list[LayerScore]:
    """A score for each layer of a window with at least one row; `level` is the probability of a
    false alarm in the whole window, shared evenly between all layers and both statistics."""
    test = 1 - level / (2 * max(1, len(baseline.layers)))
    return [
        _score(
            layer,
            window.mean[baseline.places[layer.name]],
            window.mean_square[baseline.places[layer.name]],
            1 / window.rows + 1 / baseline.images,
            np.multiply(layer.growth(window.rows), thresholds(layer, test)),
        )
        for layer in baseline.layers
    ]


def _score(
    layer: LayerBaseline, mean: Vector, mean_square: Vector, f: float, limits: Vector
) -> LayerScore:
    used = layer.used
    contribution = np.zeros(len(used))
    moved = shifts(layer, mean, mean_square, f)
    contribution[used] = moved.mean + moved.variance
    mean_significance, variance_significance = moved.significances()
    return LayerScore(
        name=layer.name,
        mean_shift=_effect(moved.mean - moved.mean_noise),
        variance_shift=_effect(moved.variance - moved.variance_noise),
        mean_significance=float(mean_significance),
        variance_significance=float(variance_significance),
        mean_threshold=float(limits[0]),
        variance_threshold=float(limits[1]),
        mean_floor=layer.mean_floor,
        variance_floor=layer.var_floor,
        contribution=contribution,
    )


@dataclass(frozen=True, eq=False)
class Shifts:
    """Of each used channel, [..., C]: (m - μ₀)²/v₀ and (ln v/v₀)²; and what chance makes of them,
    [C]."""

    mean: Vector
    variance: Vector
    mean_noise: Vector
    variance_noise: Vector

    def significances(self) -> tuple[Vector, Vector]:
        """T of mean and of variance, [...]."""
        if not self.mean.shape[-1]:
            return np.zeros(self.mean.shape[:-1]), np.zeros(self.mean.shape[:-1])
        return (
            (self.mean / self.mean_noise).mean(axis=-1),
            (self.variance / self.variance_noise).mean(axis=-1),
        )


def shifts(layer: LayerBaseline, mean: Vector, mean_square: Vector, f: float) -> Shifts:
    """How far the used channels of one window, or of several, have moved; means [..., channels]."""
    used = layer.used
    v0, m = layer.var[used], mean[..., used]
    live = np.maximum(mean_square[..., used] - m**2, _LEAST_SHARE * v0)
    return Shifts(
        mean=(m - layer.mean[used]) ** 2 / v0,
        variance=np.log(live / v0) ** 2,
        mean_noise=layer.mean_spread[used] / v0 * f,
        variance_noise=layer.var_spread[used] / v0**2 * f,
    )


def moved(window: Window, baseline: Baseline, f: float) -> Moved:
    """How far every channel of all layers has moved, for the signatures of known changes."""
    shape = (2, baseline.channels)
    away, weights, chance = np.zeros(shape), np.zeros(shape), 0.0
    for layer in baseline.layers:
        if not layer.used.any():
            continue
        place, used = baseline.places[layer.name], layer.used
        m, q = window.mean[place], window.mean_square[place]
        # ψ = q - 2·μ₀·m, and its mean in the reference v₀ - μ₀²
        away[:, place] = m - layer.mean, q - 2 * layer.mean * m - (layer.var - layer.mean**2)
        for row, spread in enumerate((layer.mean_spread, layer.var_spread)):
            weights[row, place][used] = 1 / (spread[used] * used.sum())
        chance += 2 * f
    return Moved(away[0], away[1], weights, chance)


def thresholds(layer: LayerBaseline, probability: float) -> tuple[float, float]:
    """What the significances of mean and variance stay below with that probability, by chance."""
    mean, var = (
        chi_squared.quantile(probability, degrees) / degrees
        for degrees in (layer.mean_degrees, layer.var_degrees)
    )
    return mean, var


def _effect(squares: Vector) -> float:
    return math.sqrt(max(0.0, float(squares.mean()))) if squares.size else 0.0
