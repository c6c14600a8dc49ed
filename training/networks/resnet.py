"""ResNet-18 and ResNet-50 (He et al. 2016), with torchvision's names.

The stride of a bottleneck is in its 3×3 convolution, as in the published weights.
"""

from typing import Protocol

from torch import Tensor, nn


class _Block(Protocol):
    expansion: int

    def __call__(self, inputs: int, width: int, stride: int) -> nn.Module: ...


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """A 1×1 projection where the shapes differ, else the identity."""
    if stride == 1 and inputs == outputs:
        return None
    convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """[N, inputs, H, W] to [N, width, H/stride, W/stride]: two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """relu(f(x) + shortcut(x))."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        residual = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(y + residual)
        return result


class Bottleneck(nn.Module):
    """[N, inputs, H, W] to [N, 4·width, H/stride, W/stride]: 1×1, 3×3, 1×1, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """relu(f(x) + shortcut(x))."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        residual = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(y + residual)
        return result


class ResNet(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]."""

    def __init__(
        self, block: _Block, depths: tuple[int, ...], num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for index, depth in enumerate(depths):
            width, layers = 64 * 2**index, list[nn.Module]()
            for position in range(depth):
                stride = 2 if index and not position else 1
                layers.append(block(channels, width, stride))
                channels = block.expansion * width
            self.add_module(f"layer{index + 1}", nn.Sequential(*layers))
        self.stages = [f"layer{index + 1}" for index in range(len(depths))]
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def resnet18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """Basic blocks 2, 2, 2, 2: 11,689,512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels)


def resnet50(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """Bottlenecks 3, 4, 6, 3: 25,557,032 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels)
