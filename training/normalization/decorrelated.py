"""Decorrelated batch normalization (Huang, Yang, Lang & Deng 2018): each batch made white.

In training, groups of channels are ZCA-whitened by the mini-batch's mean and covariance over batch
and positions, and the gradient flows through both; then γ and β. At inference the running mean
and covariance take their place: the layer is a matrix over the channels, a 1×1 convolution.
"""

import torch
from torch import Tensor, nn

from training.normalization.batch_function import channels, compute_type
from training.normalization.batch_norm import _Rank1d, _Rank2d, refuse_single_values
from training.normalization.whitening import covariance, inverse_square_root


class DecorrelatedBatchNorm(nn.Module):
    """Whitening of [N, C, …] in groups of `group_size` channels (16 in the paper), each apart.

    The last group may be smaller. `eps` is added to the variances; `momentum` is the weight of the
    new value of the running statistics. Raises ValueError for fewer than two values per channel.
    """

    running_mean: Tensor
    running_covariance: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-3,
        momentum: float = 0.1,
        affine: bool = True,
        group_size: int = 16,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.group_size = group_size
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_covariance", torch.eye(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    def forward(self, input: Tensor) -> Tensor:
        """The whitened `input`, of its shape and type."""
        self._check_input_dim(input)
        if input.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {input.shape[1]}")
        wide = input.to(compute_type(input))
        if self.training:
            refuse_single_values(input)
            mean, matrix = self._of_batch(wide)
        else:
            mean, matrix = self.running_mean, self.running_matrix()
        rows = (wide - channels(mean, wide)).movedim(1, -1) @ matrix
        y = rows.movedim(-1, 1)
        if self.weight is not None and self.bias is not None:
            y = y * channels(self.weight, y) + channels(self.bias, y)
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        """As PyTorch shows layers."""
        return f"{self.num_features}, group_size={self.group_size}, eps={self.eps}"

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank; those of a dimension say which."""

    def running_matrix(self) -> Tensor:
        """The whitening matrix [C, C] of the running covariance."""
        return self._matrix(self.running_covariance)

    def _groups(self) -> list[slice]:
        starts = range(0, self.num_features, self.group_size)
        return [slice(i, min(i + self.group_size, self.num_features)) for i in starts]

    def _matrix(self, sigma: Tensor) -> Tensor:
        blocks = [inverse_square_root(sigma[part, part], self.eps) for part in self._groups()]
        matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        return matrix

    def _of_batch(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        mean, sigma = covariance(wide.movedim(1, -1).flatten(0, -2))
        count = wide.numel() // self.num_features
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = sigma * (count / (count - 1))
            self.running_covariance.lerp_(unbiased.to(self.running_mean.dtype), self.momentum)
        return mean, self._matrix(sigma)

    @torch.no_grad()
    def at_inference(self) -> nn.Module:
        """The matrix and shift that the layer is at inference: a 1×1 convolution."""
        matrix = self.running_matrix()
        if self.weight is not None:
            matrix = matrix * self.weight  # scales the columns: the outputs
        shift = -self.running_mean @ matrix
        return ChannelMatrix(matrix.T, shift if self.bias is None else shift + self.bias)


class ChannelMatrix(nn.Module):
    """A x + b over the channels of [N, C, …], as a 1×1 convolution, or a linear layer of [N, C]."""

    def __init__(self, matrix: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(matrix.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(shift.detach().clone(), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """`input` with its channels mixed."""
        if input.ndim == 2:
            return nn.functional.linear(input, self.weight, self.bias)
        convolve = {3: nn.functional.conv1d, 4: nn.functional.conv2d}[input.ndim]
        kernel = self.weight.reshape(*self.weight.shape, *[1] * (input.ndim - 2))
        return convolve(input, kernel, self.bias)


class DecorrelatedBatchNorm1d(_Rank1d, DecorrelatedBatchNorm):
    """Of features [N, C] or series [N, C, L]."""


class DecorrelatedBatchNorm2d(_Rank2d, DecorrelatedBatchNorm):
    """Of feature maps [N, C, H, W]."""
