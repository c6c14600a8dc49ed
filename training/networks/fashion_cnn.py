"""A residual network with depthwise convolutions for 28×28 pictures of clothes.

The blocks are inverted residuals (Sandler et al. 2018, MobileNetV2): 1×1 expansion, 3×3 depthwise
convolution, 1×1 projection, each with batch normalization; the projection has no activation.
"""

from torch import Tensor, nn


def _normalized(convolution: nn.Conv2d, *, activation: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(convolution.out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))


class InvertedResidual(nn.Module):
    """[N, inputs, H, W] to [N, outputs, H/stride, W/stride]; with a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, expansion: int = 2) -> None:
        super().__init__()
        hidden = expansion * inputs
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.expand = _normalized(nn.Conv2d(inputs, hidden, 1, bias=False))
        self.depthwise = _normalized(depthwise)
        self.project = _normalized(nn.Conv2d(hidden, outputs, 1, bias=False), activation=False)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The block's output; x + f(x) where it has a shortcut."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class FashionCnn(nn.Module):
    """Images [N, 1, 28, 28] to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _normalized(nn.Conv2d(1, 32, 3, padding=1, bias=False))
        self.reduce = _normalized(nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False))  # 14×14
        self.blocks = nn.Sequential(
            InvertedResidual(64, 64),
            InvertedResidual(64, 64),
            InvertedResidual(64, 64),
            InvertedResidual(64, 128, stride=2),  # 7×7
            InvertedResidual(128, 128),
        )
        self.head = _normalized(nn.Conv2d(128, 192, 1, bias=False))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(192, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, 10]."""
        features = self.head(self.blocks(self.reduce(self.stem(image))))
        pooled = self.dropout(features.mean(dim=(2, 3)))  # [N, 192]
        logits: Tensor = self.classifier(pooled)
        return logits
