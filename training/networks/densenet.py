"""DenseNet-121 (Huang et al. 2017), with torchvision's names: BN→ReLU→Conv, joined by Concat."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

_GROWTH, _BOTTLENECK, _STEM = 32, 4, 64
_DEPTHS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """[N, inputs, H, W] to the 32 new channels [N, 32, H, W]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        hidden = _BOTTLENECK * _GROWTH
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, _GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The new channels only."""
        new: Tensor = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return new


class DenseBlock(nn.Module):
    """Each layer reads all channels before it, and adds its own."""

    def __init__(self, inputs: int, depth: int) -> None:
        super().__init__()
        for index in range(depth):
            self.add_module(f"denselayer{index + 1}", DenseLayer(inputs + index * _GROWTH))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs + 32·depth, H, W]."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


def _transition(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet121(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]; 7,978,856 parameters."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        layers = OrderedDict[str, nn.Module](
            conv0=nn.Conv2d(in_channels, _STEM, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(_STEM),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = _STEM
        for index, depth in enumerate(_DEPTHS, start=1):
            layers[f"denseblock{index}"] = DenseBlock(channels, depth)
            channels += depth * _GROWTH
            if index < len(_DEPTHS):
                layers[f"transition{index}"] = _transition(channels)
                channels //= 2
        layers["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        logits: Tensor = self.classifier(self.features(image).relu().mean(dim=(2, 3)))
        return logits
