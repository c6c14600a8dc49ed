"""The network of Ioffe & Szegedy 2015, section 4.1: three sigmoid layers of 100 units.

z = g(BN(W u)): the bias is left out since the normalization would cancel it (section 3.2).
"""

from torch import Tensor, nn

UNITS = 100


class MnistMlp(nn.Module):
    """Images [N, 1, 28, 28] to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in (28 * 28, UNITS, UNITS):
            layers += [nn.Linear(inputs, UNITS, bias=False), nn.BatchNorm1d(UNITS), nn.Sigmoid()]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(UNITS, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, 10]."""
        logits: Tensor = self.classifier(self.hidden(image))
        return logits
