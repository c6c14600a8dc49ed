"""Networks with batch normalization, by name."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from training.errors import UnusableInput
from training.networks.bn_inception import BnInception
from training.networks.cnn_1d import Cnn1d
from training.networks.densenet import DenseNet121
from training.networks.efficientnet_lite0 import EfficientNetLite0
from training.networks.fashion_cnn import FashionCnn
from training.networks.mnist_cnn import MnistCnn
from training.networks.mnist_mlp import MnistMlp
from training.networks.mobilenet_v2 import MobileNetV2
from training.networks.repvgg import RepVggA0
from training.networks.resnet import resnet18, resnet50
from training.networks.unet import UNet
from training.networks.vgg import vgg11_bn, vgg16_bn
from training.normalization import replace_normalization


@dataclass(frozen=True, slots=True)
class Architecture:
    """What makes a network, the shape of one of its inputs, and what its input is called."""

    factory: Callable[..., nn.Module]
    row: tuple[int, ...] = (3, 224, 224)
    input: str = "image"


_DIGIT = (1, 28, 28)

NETWORKS: dict[str, Architecture] = {
    "mnist-cnn": Architecture(MnistCnn, _DIGIT),
    "mnist-mlp": Architecture(MnistMlp, _DIGIT),
    "fashion-cnn": Architecture(FashionCnn, _DIGIT),
    "resnet-18": Architecture(resnet18),
    "resnet-50": Architecture(resnet50),
    "mobilenet-v2": Architecture(MobileNetV2),
    "densenet-121": Architecture(DenseNet121),
    "efficientnet-lite0": Architecture(EfficientNetLite0),
    "vgg-11-bn": Architecture(vgg11_bn),
    "vgg-16-bn": Architecture(vgg16_bn),
    "unet": Architecture(UNet, (3, 256, 256)),
    "repvgg-a0": Architecture(RepVggA0),
    "cnn-1d": Architecture(Cnn1d, (1, 256), "series"),
    "bn-inception": Architecture(BnInception),
}


def build(name: str, **arguments: object) -> nn.Module:
    """A new network with initial weights, made with `arguments`; that of the name `norm` is what
    stands in the place of its batch normalization.

    Raises UnusableInput where there is no network, or no normalization, of that name.
    """
    if name not in NETWORKS:
        raise UnusableInput(f"expected a network of {', '.join(NETWORKS)}; got {name}")
    norm = str(arguments.pop("norm", "torch-batch"))
    try:
        network = NETWORKS[name].factory(**arguments)
    except TypeError as error:
        raise UnusableInput(f"network '{name}': expected other arguments: {error}") from None
    return replace_normalization(network, norm)


def build_for_training(name: str, norm: str = "torch-batch") -> nn.Module:
    """A new network for the data sets that there are, of 28×28 grey pixels, or UnusableInput."""
    network = build(name, norm=norm)
    if NETWORKS[name].row != _DIGIT:
        sizes = "×".join(map(str, NETWORKS[name].row))
        raise UnusableInput(
            f"network '{name}' takes {sizes}: expected one for 1×28×28 to train; others can be "
            "exported and bundled"
        )
    _refuse_unfit(network, name, norm)
    return network


def _refuse_unfit(network: nn.Module, name: str, norm: str) -> None:
    """UnusableInput where the normalization cannot take the network's features: instance
    normalization needs positions, for one."""
    trial = copy.deepcopy(network).train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            trial(torch.zeros(2, *NETWORKS[name].row))
    except ValueError as error:
        raise UnusableInput(f"network '{name}' cannot have norm {norm}: {error}") from None
