"""The network of document 003 and its batch normalization, with what is particular to it.

The document's layer (its public code, 2020) differs from PyTorch's in four things that matter:
γ starts uniform in (0, 1); `momentum` 0.1 multiplies the *old* value, so that the moving statistics
keep a tenth of the past; the moving variance is the biased one; and for 2-D input the evaluation
normalizes by the statistics of the test batch.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KEEPS = (0.1, 0.9)  # the document's, and the value that PyTorch's momentum 0.1 means
EPSILON = 1e-5

Evaluation = Literal["batch", "running"]
Layer = Callable[[int, int], nn.Module]  # channels, dimensions of the input


class ReportBatchNorm(nn.Module):
    """The document's layer. Its three choices at evaluation can be taken back, one by one.

    Neither the kept share nor the evaluation of 2-D input enters training: only γ's start does.
    So both kept shares are tracked [2, C], and one set of weights is evaluated in every way.
    """

    running_mean: Tensor
    running_var: Tensor
    keeps: Tensor

    def __init__(self, channels: int, *, uniform_scale: bool = True) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        if uniform_scale:
            nn.init.uniform_(self.scale)
        self.keep, self.evaluation = KEEPS[0], "batch"
        self.register_buffer("keeps", torch.tensor(KEEPS).unsqueeze(1))
        self.register_buffer("running_mean", torch.zeros(len(KEEPS), channels))
        self.register_buffer("running_var", torch.ones(len(KEEPS), channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C] or [N, C, H, W], normalized."""
        if self.training:
            # With momentum 1 PyTorch's function hands out the batch's mean and unbiased variance.
            mean, var = torch.zeros_like(self.shift), torch.zeros_like(self.shift)
            y = F.batch_norm(x, mean, var, self.scale, self.shift, True, 1.0, EPSILON)
            count = x.numel() // x.shape[1]
            self._track(mean, var * ((count - 1) / count))
            return y
        if x.ndim == 2 and self.evaluation == "batch":
            mean, var = x.mean(0), x.var(0, correction=0)  # of one picture: itself, and 0
        else:
            row = KEEPS.index(self.keep)
            mean, var = self.running_mean[row], self.running_var[row]
        return F.batch_norm(x, mean, var, self.scale, self.shift, False, 0.0, EPSILON)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean.copy_(self.keeps * self.running_mean + (1 - self.keeps) * mean)
        self.running_var.copy_(self.keeps * self.running_var + (1 - self.keeps) * var)


class ReportCnn(nn.Module):
    """conv 5×5 to 10, pool, conv 3×3 to 20, 500 units, 10 logits; sigmoid throughout.

    The normalization stands after every layer, the last one included.
    """

    def __init__(self, layer: Layer | None) -> None:
        super().__init__()
        make: Layer = layer or (lambda channels, dimensions: nn.Identity())
        self.conv1, self.norm1 = nn.Conv2d(1, 10, 5), make(10, 4)
        self.conv2, self.norm2 = nn.Conv2d(10, 20, 3), make(20, 4)
        self.fc1, self.norm3 = nn.Linear(2000, 500), make(500, 2)
        self.fc2, self.norm4 = nn.Linear(500, 10), make(10, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, 1, 28, 28] to logits [N, 10]."""
        # A maximum and a growing function can change places: the pool first is four times cheaper.
        first = torch.sigmoid(F.max_pool2d(self.norm1(self.conv1(image)), 2))
        second = torch.sigmoid(self.norm2(self.conv2(first)))
        third = torch.sigmoid(self.norm3(self.fc1(second.flatten(1))))
        logits: Tensor = self.norm4(self.fc2(third))
        return logits


def torch_layer(channels: int, dimensions: int) -> nn.Module:
    """PyTorch's batch normalization for 2-D or 4-D input."""
    return nn.BatchNorm2d(channels) if dimensions == 4 else nn.BatchNorm1d(channels)


def network(variant: str) -> ReportCnn:
    """The network `none`, `zjk`, `zjk-scale-one` (γ starts at 1) or `torch`."""
    layers: dict[str, Layer | None] = {
        "none": None,
        "zjk": lambda channels, _: ReportBatchNorm(channels),
        "zjk-scale-one": lambda channels, _: ReportBatchNorm(channels, uniform_scale=False),
        "torch": torch_layer,
    }
    return ReportCnn(layers[variant])


def evaluate_with(model: nn.Module, keep: float, evaluation: Evaluation) -> None:
    """Chooses the kept share and the evaluation of 2-D input in all of the document's layers."""
    for module in model.modules():
        if isinstance(module, ReportBatchNorm):
            module.keep, module.evaluation = keep, evaluation
