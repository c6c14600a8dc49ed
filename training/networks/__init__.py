"""Networks with batch normalization, by name."""

from collections.abc import Callable

from torch import nn

from training.errors import UnusableInput
from training.networks.fashion_cnn import FashionCnn
from training.networks.mnist_cnn import MnistCnn
from training.networks.mnist_mlp import MnistMlp

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mnist-cnn": MnistCnn,
    "mnist-mlp": MnistMlp,
    "fashion-cnn": FashionCnn,
}


def build(name: str) -> nn.Module:
    """A new network with initial weights; UnusableInput where there is none of that name."""
    if name not in NETWORKS:
        raise UnusableInput(f"expected a network of {', '.join(NETWORKS)}; got {name}")
    return NETWORKS[name]()
