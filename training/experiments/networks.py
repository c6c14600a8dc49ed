"""The networks of the experiments, with or without normalization."""

import itertools
from collections.abc import Callable

from torch import Tensor, nn

Normalization = Callable[[int], nn.Module]  # channels to a layer

# The two that most experiments compare, and what their plots and tables call them.
KINDS = {"plain": "without BN", "batch": "BN"}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}


class Mlp(nn.Module):
    """Fully connected layers of `units`, z = g(Wu + b), and a linear layer to 10 logits.

    Ioffe & Szegedy 2015, section 4.1: with `normalization`, z = g(BN(Wu)), and the bias, which the
    normalization would cancel, is left out. Weights are drawn from N(0, std²), biases are 0.
    `pre_activations` names the modules whose output is the input of a nonlinearity.
    """

    def __init__(
        self,
        normalization: Normalization | None,
        *,
        depth: int = 3,
        units: int = 100,
        activation: str = "sigmoid",
        std: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        self.pre_activations: list[str] = []
        sizes = [28 * 28] + [units] * depth
        for inputs, outputs in itertools.pairwise(sizes):
            layers.append(nn.Linear(inputs, outputs, bias=normalization is None))
            if normalization is not None:
                layers.append(normalization(outputs))
            self.pre_activations.append(f"hidden.{len(layers) - 1}")
            layers.append(ACTIVATIONS[activation]())
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(units, 10)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, 1, 28, 28] to logits [N, 10]."""
        logits: Tensor = self.classifier(self.hidden(image))
        return logits


class SmallCnn(nn.Module):
    """Three 3×3 convolutions of `width`, 2·width and 4·width channels, each normalized; ReLU."""

    def __init__(self, normalization: Normalization | None, *, width: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = (1, width, 2 * width, 4 * width)
        for inputs, outputs in itertools.pairwise(sizes):
            bias = normalization is None
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=bias))
            if normalization is not None:
                layers.append(normalization(outputs))
            layers.append(nn.ReLU())
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(4 * width * 16, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, 1, 28, 28] to logits [N, 10]."""
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits
