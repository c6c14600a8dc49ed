"""Batch normalization that no longer learns, for fine-tuning with batches too small to measure by.

Scale, bias and statistics are buffers: no optimizer moves them, and train() changes nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.normalization.batch_function import frozen_line, line
from training.normalization.batch_norm import AnyRankBatchNorm, no_initialization


class FrozenBatchNorm2d(nn.Module):
    """y = γ (x - mean)/√(var + ε) + β of [N, C, H, W], all four [C] constants.

    Its state dict has the names of a BatchNorm2d; the count of batches of one is not needed.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0)):
            self.register_buffer(name, torch.full((num_features,), value))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """The same line in training as at inference; the gradient flows to the input alone."""
        held = self.running_mean, self.running_var, self.weight, self.bias
        return line(input, *frozen_line(*held, self.eps))

    def extra_repr(self) -> str:
        """As PyTorch shows layers."""
        return f"{self.num_features}, eps={self.eps}"

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        state.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state, prefix, *rest)

    @classmethod
    def of(cls, layer: _BatchNorm) -> "FrozenBatchNorm2d":
        """A frozen copy of a layer; ValueError where it tracks no statistics."""
        if layer.running_mean is None or layer.running_var is None:
            raise ValueError("expected running statistics to freeze, found none")
        made = cls(layer.num_features, layer.eps)
        pairs = (
            (made.weight, layer.weight),
            (made.bias, layer.bias),
            (made.running_mean, layer.running_mean),
            (made.running_var, layer.running_var),
        )
        for buffer, value in pairs:
            if value is not None:
                buffer.copy_(value.detach())
        return made

    def at_inference(self) -> nn.Module:
        """PyTorch's own layer with these numbers."""
        with no_initialization():
            made = AnyRankBatchNorm(self.num_features, self.eps)
        made.weight = nn.Parameter(self.weight, requires_grad=False)
        made.bias = nn.Parameter(self.bias, requires_grad=False)
        made.running_mean, made.running_var = self.running_mean, self.running_var
        made.num_batches_tracked = None
        return made.eval()


def freeze_batch_norms(network: nn.Module) -> nn.Module:
    """Puts a frozen copy in the place of every batch normalization, in place; the network, or the
    frozen layer where the network is one layer itself."""
    if isinstance(network, _BatchNorm):
        return FrozenBatchNorm2d.of(network)
    for path, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm):
            network.set_submodule(path, FrozenBatchNorm2d.of(module))
    return network
