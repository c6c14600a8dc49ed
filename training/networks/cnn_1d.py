"""The fully convolutional network for series of Wang, Yan & Oates 2017, with 1-d normalization."""

from torch import Tensor, nn

# Kernel and channels of the convolutions. The paper's first kernel is 8; an odd one is centred.
_LAYERS = ((7, 128), (5, 256), (3, 128))


class Cnn1d(nn.Module):
    """Series [N, in_channels, length] to logits [N, num_classes]."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        layers, channels = list[nn.Module](), in_channels
        for kernel, width in _LAYERS:
            layers += [nn.Conv1d(channels, width, kernel, padding="same"), nn.BatchNorm1d(width)]
            layers.append(nn.ReLU(inplace=True))
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, series: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        logits: Tensor = self.classifier(self.features(series).mean(dim=2))
        return logits
