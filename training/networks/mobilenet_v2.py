"""MobileNetV2 (Sandler et al. 2018), with torchvision's names: inverted residuals, ReLU6."""

from torch import Tensor, nn

# Expansion, output channels, repetitions, stride of the first (table 2 of the paper).
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _HEAD = 32, 1280


def _normalized(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3×3, linear projection; with a shortcut where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * inputs
        expand = [] if expansion == 1 else [_normalized(inputs, hidden)]
        self.conv = nn.Sequential(
            *expand,
            _normalized(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """f(x), or x + f(x)."""
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]; 3,504,872 parameters."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [_normalized(in_channels, _STEM, 3, stride=2)]
        channels = _STEM
        for expansion, outputs, repetitions, first in _BLOCKS:
            for position in range(repetitions):
                stride = first if position == 0 else 1
                layers.append(InvertedResidual(channels, outputs, stride, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, _normalized(channels, _HEAD))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_HEAD, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        logits: Tensor = self.classifier(self.features(image).mean(dim=(2, 3)))
        return logits
