"""The networks: the published parameters, layers and names, and what exporting makes of each."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from training.errors import UnusableInput
from training.export import Input, export_inputs
from training.networks import build, build_for_training
from training.population import normalization_layers

# Parameters as the publications of the weights count them, and normalization layers.
PUBLISHED = {
    "resnet-18": (11_689_512, 20),
    "resnet-50": (25_557_032, 53),
    "mobilenet-v2": (3_504_872, 52),
    "densenet-121": (7_978_856, 121),
    "efficientnet-lite0": (4_652_008, 49),
    "vgg-11-bn": (132_868_840, 8),
    "vgg-16-bn": (138_365_992, 13),
    # Training form: 22 blocks, of which 17 have an identity branch.
    "repvgg-a0": (9_108_968, 22 * 2 + 17),
}
# Names of torchvision's state dicts (RepVGG: of its authors'), and their shapes.
NAMES = {
    "resnet-18": {
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
        "bn1.bias": (64,),
        "fc.weight": (1000, 512),
    },
    "resnet-50": {
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer4.2.bn3.weight": (2048,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "fc.bias": (1000,),
    },
    "densenet-121": {
        "features.norm0.weight": (64,),
        "features.denseblock1.denselayer1.norm1.running_mean": (64,),
        "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
        "features.transition3.conv.weight": (512, 1024, 1, 1),
        "features.norm5.running_var": (1024,),
        "classifier.weight": (1000, 1024),
    },
    "vgg-11-bn": {"features.26.running_mean": (512,), "classifier.6.weight": (1000, 4096)},
    "vgg-16-bn": {"features.41.running_mean": (512,), "classifier.0.weight": (4096, 25088)},
    "repvgg-a0": {
        "stage0.rbr_dense.conv.weight": (48, 3, 3, 3),
        "stage3.13.rbr_identity.running_mean": (192,),
        "stage4.0.rbr_1x1.bn.weight": (1280,),
        "linear.weight": (1000, 1280),
    },
}
# Small enough to be exported in seconds: arguments, and the size of an input. The networks for
# 28×28 pixels are in test_export.
SMALL: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "resnet-18": ({"num_classes": 10, "in_channels": 1}, (1, 40, 33)),
    "resnet-50": ({"num_classes": 10}, (3, 33, 40)),
    "mobilenet-v2": ({"num_classes": 10}, (3, 64, 48)),
    "densenet-121": ({"num_classes": 10}, (3, 32, 32)),
    "efficientnet-lite0": ({"num_classes": 10}, (3, 65, 48)),
    "vgg-11-bn": ({"num_classes": 10, "hidden": 32}, (3, 32, 32)),
    "unet": ({"width": 8, "in_channels": 1}, (1, 48, 32)),
    "repvgg-a0": ({"num_classes": 10}, (3, 33, 32)),
    "cnn-1d": ({"in_channels": 2}, (2, 50)),
    "bn-inception": ({"num_classes": 10}, (3, 64, 64)),
}


def with_statistics(network: nn.Module) -> nn.Module:
    """Random statistics, some scales negative, so that a mixed-up layer would be seen."""
    generator = torch.Generator().manual_seed(0)
    for layer in normalization_layers(network).values():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.uniform_(-0.5, 0.5, generator=generator)
        layer.running_var.uniform_(0.5, 2, generator=generator)
        nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
        with torch.no_grad():
            layer.weight[::7] *= -1
        nn.init.uniform_(layer.bias, -0.5, 0.5, generator=generator)
    return network


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_layers_and_names_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert (counted, len(normalization_layers(network))) == PUBLISHED[name]
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert NAMES.get(name, {}).items() <= shapes.items()


def test_bn_inception_has_the_widths_of_figure_5() -> None:
    with torch.device("meta"):
        network = build("bn-inception")
        image, widths = torch.empty(1, 3, 224, 224), list[tuple[int, ...]]()
        for name, module in network.eval().named_children():
            if name.startswith("inception"):
                module.register_forward_hook(lambda _m, _i, y: widths.append(tuple(y.shape[1:])))
        network(image)
    sides = [28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    channels = [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024]
    assert widths == [(c, s, s) for c, s in zip(channels, sides, strict=True)]


@pytest.mark.parametrize("name", SMALL)
def test_every_network_is_exported_with_all_its_layers(name: str) -> None:
    arguments, row = SMALL[name]
    network = with_statistics(build(name, **arguments))
    model = export_inputs(network, [Input((1, *row), name="given")], ["logits"])
    nodes = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert sorted(nodes) == sorted(normalization_layers(network))
    assert network.training

    rows = torch.randn(3, *row, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.eval()(rows).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in (1, 3):
        (got,) = session.run(["logits"], {"given": rows[:count].numpy()})
        assert np.abs(got - expected[:count]).max() <= 2e-5 * np.abs(expected).max()


def test_same_padding_is_tensorflows() -> None:
    """Of 7 pixels with kernel 3 and stride 2 one more on each side; of 6 one more at the end."""
    network = build("efficientnet-lite0")
    stem = network.get_submodule("_conv_stem")
    nn.init.ones_(stem.get_parameter("weight"))
    with torch.no_grad():
        odd, even = (stem(torch.ones(1, 3, n, n))[0, 0] / 3 for n in (7, 6))
    assert odd.tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]
    assert even.tolist() == [[9, 9, 6], [9, 9, 6], [6, 6, 4]]


def test_unknown_names_and_arguments_are_said() -> None:
    with pytest.raises(UnusableInput, match=r"expected a network of mnist-cnn, .*; got resnet"):
        build("resnet")
    with pytest.raises(UnusableInput, match=r"'resnet-18': expected other arguments: .*classes"):
        build("resnet-18", classes=3)


def test_networks_for_other_pixels_than_the_data_sets_are_not_trained() -> None:
    assert isinstance(build_for_training("mnist-cnn"), nn.Module)
    with pytest.raises(UnusableInput, match="network 'cnn-1d' takes 1×256: expected one for 1×28"):
        build_for_training("cnn-1d")
