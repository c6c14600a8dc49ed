"""Batch normalization layers over fully connected, 1-d, 2-d and 3-d convolutional features.

Parameters, buffers and state dict are those of `torch.nn.BatchNorm1d`, `2d` and `3d`, whose base
holds them, so that either loads the other's and every tool that knows PyTorch's layer knows these.
What is computed is written out in `batch_function`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.normalization.batch_function import BatchNormFunction, frozen_line, line


class BatchNorm(_BatchNorm):
    """What the layers have in common; as `torch.nn.BatchNorm2d` for inputs [N, C, …].

    In training, y = γ (x - mean)/√(var + ε) + β with mean and biased variance of the mini-batch
    over N and all positions (m' = m·p·q of them, Ioffe & Szegedy 2015, section 3.2); the running
    statistics follow with weight `momentum` on the new value, the variance unbiased, or, where
    `momentum` is None, become the mean over all batches. At inference, the line that the running
    statistics make. Narrow types are computed in float32.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The normalized `input`, of its shape and type.

        Raises ValueError for a mini-batch with fewer than two values per channel, and for inputs
        of another rank or number of channels.
        """
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if input.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {input.shape[1]}")
        if not self.by_batch:
            assert self.running_mean is not None
            assert self.running_var is not None
            held = self.running_mean, self.running_var, self.weight, self.bias
            return line(input, *frozen_line(*held, self.eps))
        self._refuse(input)
        return self._normalize_batch(input)

    def _refuse(self, input: Tensor) -> None:
        refuse_single_values(input)

    @property
    def by_batch(self) -> bool:
        """Whether the layer normalizes by the mini-batch: in training, or without statistics."""
        return self.training or self.running_mean is None or self.running_var is None

    @property
    def tracking(self) -> bool:
        """Whether this mini-batch moves the running statistics."""
        return self.training and self.track_running_stats and self.running_mean is not None

    def _normalize_batch(self, input: Tensor) -> Tensor:
        y, mean, var = BatchNormFunction.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps
        )
        self._track(mean, var, input.numel() // input.shape[1])
        result: Tensor = y
        return result

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Moves the running statistics by a batch's mean and biased variance of `count` values."""
        if self.tracking:
            self._move(mean, var * (count / (count - 1)))

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor) -> None:
        """running ← (1 - momentum)·running + momentum·new."""
        assert self.running_mean is not None
        assert self.running_var is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            assert self.num_batches_tracked is not None
            momentum = 1 / float(self.num_batches_tracked)
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            running.lerp_(new.to(running.dtype), momentum)

    def at_inference(self) -> nn.Module:
        """PyTorch's own layer that computes what this one does at inference; tensors are shared."""
        return shared_batch_norm(self)


class AnyRankBatchNorm(_BatchNorm):
    """PyTorch's batch normalization of inputs of any rank, in place of a layer that is like it."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank: as the layer that it stands for."""


def shared_batch_norm(layer: _BatchNorm) -> AnyRankBatchNorm:
    """PyTorch's layer with the tensors of `layer` themselves, in eval mode."""
    with no_initialization():
        made = AnyRankBatchNorm(
            layer.num_features,
            layer.eps,
            layer.momentum,
            affine=layer.affine,
            track_running_stats=layer.track_running_stats,
        )
    made.weight, made.bias = layer.weight, layer.bias
    made.running_mean, made.running_var = layer.running_mean, layer.running_var
    made.num_batches_tracked = layer.num_batches_tracked
    return made.eval()


@contextmanager
def no_initialization() -> Iterator[None]:
    """Layers made inside draw no random numbers that would count."""
    with torch.random.fork_rng(devices=[]):
        yield


def refuse_single_values(input: Tensor) -> None:
    """ValueError where a channel has fewer than two values: it would become β whatever comes."""
    count = input.numel() // max(1, input.shape[1])
    if count < 2:
        raise ValueError(
            f"expected at least two values per channel to normalize by the batch, got {count} in "
            f"an input of shape {list(input.shape)}: use larger batches, drop the last, short one, "
            "or call eval() to normalize by the running statistics"
        )


class _Rank1d:
    """Takes [N, C] and [N, C, L]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(f"expected an input [N, C] or [N, C, L], got {list(input.shape)}")


class _Rank2d:
    """Takes [N, C, H, W]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim != 4:
            raise ValueError(f"expected an input [N, C, H, W], got {list(input.shape)}")


class _Rank3d:
    """Takes [N, C, D, H, W]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim != 5:
            raise ValueError(f"expected an input [N, C, D, H, W], got {list(input.shape)}")


class BatchNorm1d(_Rank1d, BatchNorm):
    """Of features [N, C], or of series [N, C, L]; as `torch.nn.BatchNorm1d`."""


class BatchNorm2d(_Rank2d, BatchNorm):
    """Of feature maps [N, C, H, W]; as `torch.nn.BatchNorm2d`."""


class BatchNorm3d(_Rank3d, BatchNorm):
    """Of volumes [N, C, D, H, W]; as `torch.nn.BatchNorm3d`."""


def detached_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5
) -> Tensor:
    """Batch normalization whose gradient takes mean and variance for constants: wrong on purpose.

    The experiment of Ioffe & Szegedy 2015, section 2: a bias before it grows without bound, since
    the normalization takes away what the gradient does not know of.
    """
    axes = [axis for axis in range(x.ndim) if axis != 1]
    var, mean = torch.var_mean(x.detach(), axes, correction=0)
    return line(x, *frozen_line(mean, var, weight, bias, eps))
