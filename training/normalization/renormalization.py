"""Batch Renormalization (Ioffe 2017): in training, too, what inference will compute.

    x̂ = (x - mean_B)/σ_B · r + d
    r = clip(σ_B/σ, 1/r_max, r_max)        d = clip((mean_B - mean)/σ, -d_max, d_max)

with mean and σ = √(var + ε) of the running statistics. r and d are constants to the gradient. With
r_max = 1 and d_max = 0 this is batch normalization; unbounded, x̂ = (x - mean)/σ.
"""

from typing import Any

import torch
from torch import Tensor

from training.normalization.batch_function import BatchNormFunction, channels, compute_type
from training.normalization.batch_norm import BatchNorm, _Rank1d, _Rank2d


class BatchRenorm(BatchNorm):
    """Batch renormalization of [N, C, …]; other arguments as BatchNorm's.

    `r_max` ≥ 1 and `d_max` ≥ 0 bound the correction and are reached by straight ramps that begin
    after `warmup` batches at 1 and 0: r_max over the next 7·warmup, d_max over the next 4·warmup
    (in the paper 5,000, then 35,000 and 20,000). Without running statistics there is nothing to
    correct by: ValueError.
    """

    def __init__(
        self,
        num_features: int,
        *args: Any,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup: int = 500,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_features, *args, **kwargs)
        if r_max < 1 or d_max < 0 or warmup < 0:
            raise ValueError(
                f"expected r_max >= 1, d_max >= 0, warmup >= 0; got {r_max}, {d_max}, {warmup}"
            )
        if not self.track_running_stats:
            raise ValueError("expected track_running_stats: batches are corrected by them")
        self.r_max, self.d_max, self.warmup = r_max, d_max, warmup

    def bounds(self) -> tuple[float, float]:
        """(r_max, d_max) after the batches tracked so far."""
        seen = 0 if self.num_batches_tracked is None else int(self.num_batches_tracked)
        after = max(0, seen - self.warmup)
        r_share, d_share = (
            min(1.0, after / (times * self.warmup)) if self.warmup else 1.0 for times in (7, 4)
        )
        return 1 + (self.r_max - 1) * r_share, self.d_max * d_share

    def _normalize_batch(self, input: Tensor) -> Tensor:
        x, mean, var = BatchNormFunction.apply(  # type: ignore[no-untyped-call]
            input, None, None, self.eps
        )
        r, d = self._corrections(mean, var)
        self._track(mean, var, input.numel() // input.shape[1])
        y = x.to(compute_type(input)) * channels(r, input) + channels(d, input)
        if self.weight is not None:
            y = y * channels(self.weight, input)
        if self.bias is not None:
            y = y + channels(self.bias, input)
        result: Tensor = y.to(input.dtype)
        return result

    @torch.no_grad()
    def _corrections(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        assert self.running_mean is not None
        assert self.running_var is not None
        r_max, d_max = self.bounds()
        sigma = (self.running_var + self.eps).sqrt()
        r = ((var + self.eps).sqrt() / sigma).clamp(1 / r_max, r_max)
        return r, ((mean - self.running_mean) / sigma).clamp(-d_max, d_max)


class BatchRenorm1d(_Rank1d, BatchRenorm):
    """Of features [N, C] or series [N, C, L]."""


class BatchRenorm2d(_Rank2d, BatchRenorm):
    """Of feature maps [N, C, H, W]."""
