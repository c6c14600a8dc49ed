"""Networks with batch normalization, by name."""

from collections.abc import Callable
from dataclasses import dataclass

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
    """A new network with initial weights; UnusableInput where there is none of that name."""
    if name not in NETWORKS:
        raise UnusableInput(f"expected a network of {', '.join(NETWORKS)}; got {name}")
    try:
        return NETWORKS[name].factory(**arguments)
    except TypeError as error:
        raise UnusableInput(f"network '{name}': expected other arguments: {error}") from None


def build_for_training(name: str) -> nn.Module:
    """A new network for the data sets that there are, of 28×28 grey pixels, or UnusableInput."""
    network = build(name)
    if NETWORKS[name].row != _DIGIT:
        sizes = "×".join(map(str, NETWORKS[name].row))
        raise UnusableInput(
            f"network '{name}' takes {sizes}: expected one for 1×28×28 to train; others can be "
            "exported and bundled"
        )
    return network
