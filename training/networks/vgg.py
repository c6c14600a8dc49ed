"""VGG-11 and VGG-16 with batch normalization (Simonyan & Zisserman 2015), torchvision's names.

Each convolution has a bias although the normalization after it would subtract it again: so the
published weights are.
"""

from torch import Tensor, nn

# Channels of the 3×3 convolutions of each stage; a 2×2 maximum ends a stage.
_STAGES = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}
_SIDE = 7


class VggBn(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]; `hidden` units, twice, before."""

    def __init__(self, depth: int, num_classes: int, in_channels: int, hidden: int) -> None:
        super().__init__()
        layers, channels = list[nn.Module](), in_channels
        for stage in _STAGES[depth]:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_SIDE)
        self.classifier = nn.Sequential(
            nn.Linear(channels * _SIDE**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        logits: Tensor = self.classifier(self.avgpool(self.features(image)).flatten(1))
        return logits


def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, hidden: int = 4096) -> VggBn:
    """Configuration A: 132,868,840 parameters."""
    return VggBn(11, num_classes, in_channels, hidden)


def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, hidden: int = 4096) -> VggBn:
    """Configuration D: 138,365,992 parameters."""
    return VggBn(16, num_classes, in_channels, hidden)
