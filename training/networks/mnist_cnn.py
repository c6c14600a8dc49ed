"""A small convolutional network for 28×28 digits: six 3×3 convolutions, each normalized.

Batch normalization stands before the activation, and the convolution before it has no bias, since
the normalization would subtract it again (Ioffe & Szegedy 2015, section 3.2).
"""

from torch import Tensor, nn


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class MnistCnn(nn.Module):
    """Images [N, 1, 28, 28] to logits [N, 10]; `width` channels at first, then twice, then four
    times as many."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, width),
            *_convolution(width, width),
            nn.MaxPool2d(2),  # 14×14
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),  # 7×7
            *_convolution(2 * width, 4 * width),
            *_convolution(4 * width, 4 * width),
        )
        self.classifier = nn.Linear(4 * width, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, 10]."""
        pooled = self.features(image).mean(dim=(2, 3))  # [N, 4·width]
        logits: Tensor = self.classifier(pooled)
        return logits
