"""One normalization layer as the doctor sees it, whatever it was read from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import onnx_ir as ir

from training.doctor.momentum import Momentum
from training.fold.affine import Float64
from training.provenance import Estimator

PYTORCH_EPSILON = 1e-5
# Channels that hardly speak, or never vary, have no scale to measure a distance on.
DEAD_SHARE = 1e-3
CONSTANT_VARIANCE = 1e-10
# Why a layer has no statistics, where only what it is called tells that it is one.
GUESSED = "its name"


@dataclass(frozen=True, eq=False)
class Layer:
    """Parameters and statistics [C] in float64; None where the target does not hold them.

    `epsilon` is None where it is not in the target (a state dict). `estimator` says what `mean`
    and `var` are, and the moving averages stand beside them where they are something else. `count`
    is the number of batches that the moving averages have seen. `node` is the layer in the graph,
    `place` whether that is the network's own one. `hidden` are the statistics that a hand-written
    layer keeps where neither a state dict nor an exporter finds them.
    """

    name: str
    scale: Float64 | None = None
    bias: Float64 | None = None
    mean: Float64 | None = None
    var: Float64 | None = None
    epsilon: float | None = None
    momentum: Momentum | None = None
    count: int | None = None
    estimator: Estimator = "model"
    moving_mean: Float64 | None = None
    moving_var: Float64 | None = None
    node: ir.Node | None = None
    place: Literal["main", "subgraph", "function"] = "main"
    hidden: tuple[str, ...] = ()
    untracked: str | None = None  # why there are no statistics

    @property
    def channels(self) -> int:
        known = (self.var, self.mean, self.scale, self.bias)
        return next((array.size for array in known if array is not None), 0)

    @cached_property
    def gain(self) -> Float64:
        """|scale|, [C]; a layer without scale has 1."""
        return np.ones(self.channels) if self.scale is None else np.abs(self.scale)

    @cached_property
    def shift(self) -> Float64:
        """The bias, [C]; a layer without has 0."""
        return np.zeros(self.channels) if self.bias is None else self.bias

    @cached_property
    def multiplier(self) -> Float64 | None:
        """scale/√(var + ε), [C], NaN where that is no number; None without a variance."""
        if self.var is None:
            return None
        epsilon = PYTORCH_EPSILON if self.epsilon is None else self.epsilon
        scale = np.ones(self.channels) if self.scale is None else self.scale
        with np.errstate(all="ignore"):
            line: Float64 = scale / np.sqrt(self.var + epsilon)
        return np.where(np.isfinite(line), line, np.nan)

    @cached_property
    def live(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which channels speak, and vary: [C] of truth values."""
        live = np.isfinite(self.gain) & (self.gain >= DEAD_SHARE * np.median(self.gain))
        if self.var is not None:
            live &= np.isfinite(self.var) & (self.var >= CONSTANT_VARIANCE)
        return np.asarray(live)
