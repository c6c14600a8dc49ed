"""The networks: shapes, normalization before activation, no bias that it would cancel."""

import itertools

import pytest
import torch
from torch import nn

from training.errors import UnusableInput
from training.networks import build
from training.networks.fashion_cnn import InvertedResidual
from training.population import normalization_layers

PRESETS = ("mnist-cnn", "mnist-mlp", "fashion-cnn")


@pytest.mark.parametrize("name", PRESETS)
def test_pictures_become_ten_logits(name: str) -> None:
    assert build(name)(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_normalized_has_no_bias(name: str) -> None:
    network = build(name)
    modules = [m for m in network.modules() if not list(m.children())]
    for before, after in itertools.pairwise(modules):
        if after in normalization_layers(network).values():
            assert isinstance(before, nn.Conv2d | nn.Linear)
            assert before.bias is None


def test_the_mlp_is_the_papers() -> None:
    network = build("mnist-mlp")
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [100, 100, 100, 10]
    assert sum(isinstance(m, nn.Sigmoid) for m in network.modules()) == 3


def test_the_fashion_network_is_residual_and_depthwise() -> None:
    blocks = [m for m in build("fashion-cnn").modules() if isinstance(m, InvertedResidual)]
    assert [block.shortcut for block in blocks] == [True, True, True, False, True]
    for block in blocks:
        depthwise = block.depthwise[0]
        assert isinstance(depthwise, nn.Conv2d)
        assert depthwise.groups == depthwise.in_channels


def test_an_unknown_network_lists_the_known() -> None:
    with pytest.raises(UnusableInput, match="expected a network of mnist-cnn"):
        build("resnet-9000")
