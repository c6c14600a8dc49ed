"""The Inception network of Ioffe & Szegedy 2015 (figure 5), every convolution normalized.

Against GoogLeNet: a 5×5 convolution is two of 3×3, modules 3c and 4e halve the size without
1×1 branches, and pooling inside modules is by average except in the last.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def _normalized(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of a module's branches as in figure 5: (reduction, outputs) of the 3×3 and of the
    double 3×3 branch. `single` 0 means stride 2 and no 1×1 branch; `pool` 0 passes through."""

    single: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: int
    maximum: bool = False

    @property
    def outputs(self) -> int:
        """Channels of the branches together, without a pooling branch that passes through."""
        return self.single + self.three[1] + self.double[1] + self.pool


_MODULES = {
    "inception_3a": Widths(64, (64, 64), (64, 96), 32),
    "inception_3b": Widths(64, (64, 96), (64, 96), 64),
    "inception_3c": Widths(0, (128, 160), (64, 96), 0),
    "inception_4a": Widths(224, (64, 96), (96, 128), 128),
    "inception_4b": Widths(192, (96, 128), (96, 128), 128),
    "inception_4c": Widths(160, (128, 160), (128, 160), 128),
    "inception_4d": Widths(96, (128, 192), (160, 192), 128),
    "inception_4e": Widths(0, (128, 192), (192, 256), 0),
    "inception_5a": Widths(352, (192, 320), (160, 224), 128),
    "inception_5b": Widths(352, (192, 320), (192, 224), 128, maximum=True),
}


class Inception(nn.Module):
    """[N, inputs, H, W] to its branches, joined; half the size where there is no 1×1 branch."""

    def __init__(self, inputs: int, widths: Widths) -> None:
        super().__init__()
        stride = 1 if widths.single else 2
        branches: list[nn.Module] = [_normalized(inputs, widths.single)] if widths.single else []
        reduced, outputs = widths.three
        branches.append(
            nn.Sequential(_normalized(inputs, reduced), _normalized(reduced, outputs, 3, stride))
        )
        reduced, outputs = widths.double
        branches.append(
            nn.Sequential(
                _normalized(inputs, reduced),
                _normalized(reduced, outputs, 3),
                _normalized(outputs, outputs, 3, stride),
            )
        )
        halving = stride == 2 or widths.maximum
        pool = nn.MaxPool2d(3, stride, 1) if halving else nn.AvgPool2d(3, 1, 1)
        project = [_normalized(inputs, widths.pool)] if widths.pool else []
        branches.append(nn.Sequential(pool, *project))
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' outputs along the channels."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class BnInception(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _normalized(in_channels, 64, 7, stride=2),
            nn.MaxPool2d(3, stride=2, padding=1),
            _normalized(64, 64),
            _normalized(64, 192, 3),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = 192
        for name, widths in _MODULES.items():
            self.add_module(name, Inception(channels, widths))
            channels = widths.outputs + (0 if widths.pool else channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        x = self.stem(image)
        for name in _MODULES:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits
