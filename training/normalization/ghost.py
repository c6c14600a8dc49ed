"""Ghost batch normalization (Hoffer, Hubara & Soudry 2017): by small parts of a large batch.

Each part of `ghost_size` rows is normalized by its own statistics, and each moves the running
statistics, in order. At inference it is an ordinary batch normalization.
"""

from typing import Any

import torch
from torch import Tensor

from training.normalization.batch_norm import BatchNorm, _Rank1d, _Rank2d


class GhostBatchNorm(BatchNorm):
    """Batch normalization of each `ghost_size` rows of [N, C, …]; other arguments as BatchNorm's.

    A last part of fewer than half as many rows joins the part before it: its statistics would be
    the poorest of all.
    """

    def __init__(self, num_features: int, *args: Any, ghost_size: int = 32, **kwargs: Any) -> None:
        super().__init__(num_features, *args, **kwargs)
        if ghost_size < 1:
            raise ValueError(f"expected a ghost_size of at least 1, got {ghost_size}")
        self.ghost_size = ghost_size

    def extra_repr(self) -> str:
        """As PyTorch shows layers."""
        return f"{self.num_features}, ghost_size={self.ghost_size}, eps={self.eps}"

    def _normalize_batch(self, input: Tensor) -> Tensor:
        whole, rest = divmod(len(input), self.ghost_size)
        sizes = [self.ghost_size] * whole
        if 2 * rest >= self.ghost_size or not sizes:
            sizes.append(rest)
        else:
            sizes[-1] += rest
        parts = torch.split(input, sizes)
        return torch.cat([self._normalize_part(part) for part in parts])

    def _normalize_part(self, part: Tensor) -> Tensor:
        if part.numel() // part.shape[1] < 2:
            raise ValueError(
                f"expected at least two values per channel in each part, got parts of shape "
                f"{list(part.shape)}: use a larger ghost_size than {self.ghost_size}"
            )
        return super()._normalize_batch(part)


class GhostBatchNorm1d(_Rank1d, GhostBatchNorm):
    """Of features [N, C] or series [N, C, L]."""


class GhostBatchNorm2d(_Rank2d, GhostBatchNorm):
    """Of feature maps [N, C, H, W]."""
