"""EfficientNet-Lite0 (Tan & Le 2019; Google 2020), with the names of its published weights.

The B0 network without squeeze-and-excitation, with ReLU6, and with TensorFlow's SAME padding:
as much as is needed for ceil(size/stride) outputs, the odd pixel below and to the right.
"""

from torch import Tensor, nn
from torch.nn import functional as F

# Expansion, kernel, stride of the first, output channels, repetitions (B0).
_BLOCKS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM, _HEAD = 32, 1280
# TensorFlow's momentum 0.99 is the weight of the old value.
_EPSILON, _MOMENTUM = 1e-3, 0.01


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            outputs = (size + stride - 1) // stride
            total = max((outputs - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class Block(nn.Module):
    """Expansion, depthwise convolution, linear projection; with a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * inputs
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv2d(inputs, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv2d(hidden, outputs, 1)
        self._bn2 = _norm(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """f(x), or x + f(x)."""
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]; 4,652,008 parameters."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(in_channels, _STEM, 3, stride=2)
        self._bn0 = _norm(_STEM)
        blocks, channels = list[nn.Module](), _STEM
        for expansion, kernel, first, outputs, repetitions in _BLOCKS:
            for position in range(repetitions):
                stride = first if position == 0 else 1
                blocks.append(Block(channels, outputs, kernel, stride, expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(channels, _HEAD, 1)
        self._bn1 = _norm(_HEAD)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(_HEAD, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(image))))
        x = F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        logits: Tensor = self._fc(self._dropout(x))
        return logits
