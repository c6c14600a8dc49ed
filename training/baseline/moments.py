"""The moments of one layer's channels over images of the reference."""

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import LayerBaseline
from training.baseline.rows import Rows

Float64 = NDArray[np.float64]

DEFAULT_FLOOR = 0.1


def moments(name: str, m: Float64, q: Float64, scale: Rows) -> LayerBaseline:
    """μ₀, v₀, S_m and S_ψ of the images' means and mean squares [N, C]; all else is still to be
    found: one degree of freedom, the default floors, no distance, no calibration."""
    mean = m.mean(axis=0)
    return LayerBaseline(
        name,
        mean=mean,
        var=np.maximum(q.mean(axis=0) - mean**2, 0.0),
        mean_spread=m.var(axis=0, ddof=1),
        var_spread=(q - 2 * mean * m).var(axis=0, ddof=1),
        scale=scale.astype(np.float64),
        mean_degrees=1.0,
        var_degrees=1.0,
        mean_floor=DEFAULT_FLOOR,
        var_floor=DEFAULT_FLOOR,
        distance=0.0,
    )
