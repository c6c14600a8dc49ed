"""Layer, instance and group normalization: statistics of each sample alone.

All three make groups of a sample's values, take away the group's mean and divide by √(var + ε):
layer normalization (Ba, Kiros & Hinton 2016) takes all features, instance normalization (Ulyanov,
Vedaldi & Lempitsky 2016) each channel's positions, group normalization (Wu & He 2018) the positions
of C/G channels. GN with one group is LN, with C groups IN. Nothing depends on the batch, so
training and inference are the same function.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.normalization.batch_function import channels, compute_type


def standardized(values: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    """(x - mean)/√(var + ε), mean and biased variance over `axes`; float32 at least."""
    wide = values.to(compute_type(values))
    centred = wide - wide.mean(list(axes), keepdim=True)
    return centred * (centred.square().mean(list(axes), keepdim=True) + eps).rsqrt()


class LayerNorm(nn.LayerNorm):
    """Over the last axes, of shape `normalized_shape`; as `torch.nn.LayerNorm`."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalized `input`; ValueError where its last axes are not `normalized_shape`."""
        ndim = len(self.normalized_shape)
        if tuple(input.shape[-ndim:]) != tuple(self.normalized_shape):
            raise ValueError(
                f"expected last axes {list(self.normalized_shape)}, got {list(input.shape)}"
            )
        y = standardized(input, range(-ndim, 0), self.eps)
        y = y if self.weight is None else y * self.weight
        y = y if self.bias is None else y + self.bias
        return y.to(input.dtype)

    def at_inference(self) -> nn.Module:
        """PyTorch's own layer with this one's tensors."""
        shape = list(self.normalized_shape)
        made = nn.LayerNorm(shape, self.eps, self.elementwise_affine, self.bias is not None)
        made.weight, made.bias = self.weight, self.bias
        return made.eval()


class GroupNorm(nn.GroupNorm):
    """Over positions and each of `num_groups` groups of channels; as `torch.nn.GroupNorm`."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalized `input` [N, C, …]."""
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ValueError(f"expected [N, {self.num_channels}, …], got {list(input.shape)}")
        grouped = input.reshape(len(input), self.num_groups, -1)
        y = standardized(grouped, [2], self.eps).reshape(input.shape)
        return _affine(y, self.weight, self.bias).to(input.dtype)

    def at_inference(self) -> nn.Module:
        """PyTorch's own layer with this one's tensors."""
        made = nn.GroupNorm(self.num_groups, self.num_channels, self.eps, self.affine)
        made.weight, made.bias = self.weight, self.bias
        return made.eval()


class _InstanceNorm(nn.modules.instancenorm._InstanceNorm):
    """Over the positions of each channel of each sample; as `torch.nn.InstanceNorm…`.

    With `track_running_stats` the statistics of inference are the running averages of the samples'
    ones, and the layer is then a line, as batch normalization is.
    """

    rank: int

    def forward(self, input: Tensor) -> Tensor:
        """The normalized `input` [N, C, …] (or [C, …], one sample, as PyTorch takes it)."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if input.ndim == self.rank - 1:
            return self._normalize(input.unsqueeze(0)).squeeze(0)
        return self._normalize(input)

    def _normalize(self, input: Tensor) -> Tensor:
        if input.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {input.shape[1]}")
        wide = input.to(compute_type(input))
        axes = list(range(2, input.ndim))
        running = self.running_mean, self.running_var
        if not self.training and running[0] is not None and running[1] is not None:
            inverse = channels((running[1] + self.eps).rsqrt(), wide)
            y = (wide - channels(running[0], wide)) * inverse
            return _affine(y, self.weight, self.bias).to(input.dtype)
        if input[0, 0].numel() < 2:
            raise ValueError(
                f"expected at least two positions per channel, got {list(input.shape)}: instance "
                "normalization would answer its bias whatever comes"
            )
        if self.training and running[0] is not None and running[1] is not None:
            self._track(wide, axes)
        return _affine(standardized(wide, axes, self.eps), self.weight, self.bias).to(input.dtype)

    @torch.no_grad()
    def _track(self, wide: Tensor, axes: list[int]) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        var, mean = torch.var_mean(wide, axes, correction=1)
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            running.lerp_(new.mean(0).to(running.dtype), self.momentum or 0.0)

    def at_inference(self) -> nn.Module:
        """PyTorch's own layer of the same rank with this one's tensors."""
        made = _TORCH[self.rank](
            self.num_features,
            self.eps,
            affine=self.affine,
            track_running_stats=self.track_running_stats,
        )
        made.weight, made.bias = self.weight, self.bias
        made.running_mean, made.running_var = self.running_mean, self.running_var
        return made.eval()


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """Of series [N, C, L]."""

    rank = 3


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """Of feature maps [N, C, H, W]."""

    rank = 4


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """Of volumes [N, C, D, H, W]."""

    rank = 5


_TORCH = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * channels(weight, y)
    return y if bias is None else y + channels(bias, y)
