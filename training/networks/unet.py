"""U-Net (Ronneberger et al. 2015) with batch normalization and zero padding.

Four halvings, four transposed convolutions; each step up also reads the step down of its size.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

_DEPTH = 4


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Up(nn.Module):
    """Doubles the size, halves the channels, and joins what was there on the way down."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(inputs // 2)
        self.conv = _double(inputs, inputs // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x [N, C, H, W] and skip [N, C/2, 2H, 2W] to [N, C/2, 2H, 2W]."""
        raised = self.norm(self.up(x)).relu()
        result: Tensor = self.conv(torch.cat([skip, raised], dim=1))
        return result


class UNet(nn.Module):
    """Images [N, in_channels, H, W], H and W multiples of 16, to logits [N, num_classes, H, W]."""

    def __init__(self, num_classes: int = 2, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_DEPTH + 1)]
        self.stem = _double(in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(_double(fine, coarse) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(Up(channels) for channels in reversed(widths[1:]))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class at each pixel."""
        levels = [self.stem(image)]
        for down in self.down:
            levels.append(down(self.pool(levels[-1])))
        x = levels.pop()
        for up in self.up:
            x = up(x, levels.pop())
        logits: Tensor = self.head(x)
        return logits
