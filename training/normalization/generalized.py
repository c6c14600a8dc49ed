"""Batch normalization by other centres and deviations than the mean and the standard deviation.

Yuan, Feng, Norton & Li 2019 ("Generalized Batch Normalization") take any statistic S and deviation
measure D that belong together in the sense of Rockafellar & Uryasev's risk quadrangle:

    y = γ (x - S(x)) / √(D(x)² + ε) + β

L1 batch normalization (Wu et al. 2018; Hoffer et al. 2018) is the pair of the mean and the mean
absolute deviation times √(π/2), which for Gaussian values is the standard deviation.

The running mean follows S and the running variance D², so that at inference the layer is the line
of an ordinary batch normalization, and is exported, folded and served as one.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from training.normalization.batch_function import channels, compute_type
from training.normalization.batch_norm import BatchNorm, _Rank1d, _Rank2d

# Values [C, m] of each channel to its centre and its deviation [C].
Measure = Callable[[Tensor], tuple[Tensor, Tensor]]

TAIL = 0.5  # the superquantile's α: the mean of the upper half


def standard(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and the standard deviation: ordinary batch normalization."""
    mean = values.mean(1)
    return mean, (values - mean[:, None]).square().mean(1).sqrt()


def mean_absolute(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and √(π/2) times the mean absolute deviation from it."""
    mean = values.mean(1)
    return mean, math.sqrt(math.pi / 2) * (values - mean[:, None]).abs().mean(1)


def median_absolute(values: Tensor) -> tuple[Tensor, Tensor]:
    """The median, and √(π/2) times the mean absolute deviation from it, which it makes least."""
    median = values.median(1).values
    return median, math.sqrt(math.pi / 2) * (values - median[:, None]).abs().mean(1)


def half_range(values: Tensor) -> tuple[Tensor, Tensor]:
    """The middle between the extremes, and half their distance."""
    low, high = values.amin(1), values.amax(1)
    return (low + high) / 2, (high - low) / 2


def superquantile(values: Tensor) -> tuple[Tensor, Tensor]:
    """The α-quantile, and the mean of what lies above it less the mean of all (CVaR deviation)."""
    ordered = values.sort(1).values
    first = min(int(TAIL * ordered.shape[1]), ordered.shape[1] - 1)
    return ordered[:, first], ordered[:, first:].mean(1) - ordered.mean(1)


MEASURES: dict[str, Measure] = {
    "standard": standard,
    "mean-absolute": mean_absolute,
    "median-absolute": median_absolute,
    "half-range": half_range,
    "superquantile": superquantile,
}


class GeneralizedBatchNorm(BatchNorm):
    """Batch normalization with one of MEASURES, `superquantile` by default: the paper's choice
    before a ReLU. The gradient flows through centre and deviation. Other arguments as BatchNorm's.
    """

    def __init__(
        self, num_features: int, *args: Any, measure: str = "superquantile", **kwargs: Any
    ) -> None:
        super().__init__(num_features, *args, **kwargs)
        if measure not in MEASURES:
            raise ValueError(f"expected a measure of {', '.join(MEASURES)}; got {measure}")
        self.measure = measure

    def extra_repr(self) -> str:
        """As PyTorch shows layers."""
        return f"{self.num_features}, measure={self.measure}, eps={self.eps}"

    def statistics(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and squared deviation [C] of `input` [N, C, …], differentiable."""
        centre, deviation = MEASURES[self.measure](input.transpose(0, 1).flatten(1))
        return centre, deviation.square()

    def _normalize_batch(self, input: Tensor) -> Tensor:
        wide = input.to(compute_type(input))
        centre, square = self.statistics(wide)
        if self.tracking:
            self._move(centre, square)
        inverse = (square + self.eps).rsqrt()
        scale = inverse if self.weight is None else inverse * self.weight
        y = (wide - channels(centre, wide)) * channels(scale, wide)
        if self.bias is not None:
            y = y + channels(self.bias, wide)
        return y.to(input.dtype)


class GeneralizedBatchNorm1d(_Rank1d, GeneralizedBatchNorm):
    """Of features [N, C] or series [N, C, L]."""


class GeneralizedBatchNorm2d(_Rank2d, GeneralizedBatchNorm):
    """Of feature maps [N, C, H, W]."""


class L1BatchNorm(GeneralizedBatchNorm):
    """Batch normalization by √(π/2)·mean|x - mean|: no squares and no root in hardware."""

    def __init__(self, num_features: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(num_features, *args, measure="mean-absolute", **kwargs)


class L1BatchNorm1d(_Rank1d, L1BatchNorm):
    """Of features [N, C] or series [N, C, L]."""


class L1BatchNorm2d(_Rank2d, L1BatchNorm):
    """Of feature maps [N, C, H, W]."""


def weighted_mean(parts: list[tuple[int, Tensor]]) -> Tensor:
    """The mean of vectors [C], each with the number of values that it stands for; float64."""
    total = sum(count for count, _ in parts)
    return torch.stack([count * vector.double() for count, vector in parts]).sum(0) / total
