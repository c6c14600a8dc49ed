"""Weight normalization (Salimans & Kingma 2016): w = g·v/‖v‖, the length and direction apart.

    layer = weight_norm(nn.Conv2d(3, 16, 3))

`WeightNorm` is a parametrization (torch.nn.utils.parametrize): the layer's `weight` is computed
from g and v whenever it is read.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class WeightNorm(nn.Module):
    """(g, v) to the weight g·v/‖v‖, the norm over all axes but `dim`, that of the outputs."""

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """The weight, of the shape of v; g has size 1 on every other axis than `dim`."""
        return g * v / self._norm(v)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The g = ‖w‖ and v = w that give the weight back."""
        return self._norm(weight), weight

    def _norm(self, v: Tensor) -> Tensor:
        axes = [axis for axis in range(v.ndim) if axis != self.dim]
        norm: Tensor = torch.linalg.vector_norm(v, dim=axes, keepdim=True)
        return norm


def weight_norm(module: nn.Module) -> nn.Module:
    """The module with its `weight` normalized per output, in place."""
    transposed = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    parametrize.register_parametrization(module, "weight", WeightNorm(1 if transposed else 0))
    return module


class ChannelBias(nn.Module):
    """x + b per channel: the bias that a convolution before a normalization was made without."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """`input` [N, C, …] with b [C] added."""
        return input + self.bias.view(-1, *[1] * (input.ndim - 2))
