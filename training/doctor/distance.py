"""How far two sets of statistics are apart, in the units that the thresholds are given in.

    d = rms over channels of (mean_a - mean_b)/√var_b        r = rms of ln(var_a/var_b)
Both have no unit and do not depend on the scale of the activations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.doctor.layer import Layer
from training.fold.affine import Float64


@dataclass(frozen=True, slots=True)
class Distance:
    """`channel` is where the mean or the variance is farthest."""

    d: float
    r: float
    channel: int

    def exceeds(self, d: float, r: float) -> bool:
        return self.d > d or self.r > r

    def words(self) -> str:
        return f"mean by {self.d:.3g} σ, ln σ² by {self.r:.3g}"


def distance(layer: Layer, mean: Float64, var: Float64) -> Distance | None:
    """How far the layer is from `mean`, `var` [C], measured in their σ; None where no channel can
    be compared."""
    if layer.mean is None or layer.var is None or mean.shape != layer.mean.shape:
        return None
    return between(layer.mean, layer.var, (mean, var), layer.live)


def departure(layer: Layer, mean: Float64, var: Float64) -> Distance | None:
    """How far `mean`, `var` [C] are from the layer, measured in its σ: for live data."""
    if layer.mean is None or layer.var is None:
        return None
    return between(mean, var, (layer.mean, layer.var), layer.live)


def between(
    mean: Float64, var: Float64, reference: tuple[Float64, Float64], live: NDArray[np.bool_]
) -> Distance | None:
    """From the reference (mean, var) to `mean`, `var`, over the `live` channels."""
    base, spread = reference
    if not mean.shape == var.shape == base.shape == spread.shape == live.shape:
        return None
    finite = np.isfinite(mean) & np.isfinite(base) & np.isfinite(var) & np.isfinite(spread)
    used = np.flatnonzero(live & finite & (var > 0) & (spread > 0))
    if not used.size:
        return None
    shift = (mean - base)[used] / np.sqrt(spread[used])
    ratio = np.log(var[used] / spread[used])
    worst = int(used[np.argmax(shift**2 + ratio**2)])
    return Distance(
        d=float(np.sqrt(np.mean(shift**2))), r=float(np.sqrt(np.mean(ratio**2))), channel=worst
    )
