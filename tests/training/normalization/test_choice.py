"""--norm: each normalization by name in a network: it trains, is exported, folded and examined."""

from collections import Counter
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.config import PRESETS, Norm
from training.doctor.modules import from_module
from training.errors import UnusableInput
from training.export import Signature, export
from training.fold import fold
from training.networks import NETWORKS, build, build_for_training
from training.normalization import (
    NORMS,
    DecorrelatedBatchNorm2d,
    FrozenBatchNorm2d,
    GroupNorm,
    InstanceNorm2d,
    L1BatchNorm1d,
    freeze_batch_norms,
)
from training.population import BatchNorm, as_statistics, estimate, freeze, normalization_layers

# What is a batch normalization at inference.
BATCH = {"torch-batch", "own-batch", "l1-batch", "generalized-batch", "renorm", "ghost"}


def _rows(count: int = 8) -> Tensor:
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_the_configuration_has_the_names_of_the_layers() -> None:
    assert set(get_args(Norm)) == NORMS.keys()
    assert {config.norm for config in PRESETS.values()} == {"torch-batch"}


@pytest.mark.parametrize("norm", NORMS)
def test_each_trains_is_exported_and_folded(norm: str) -> None:
    torch.manual_seed(0)
    network = build("mnist-cnn", width=4, norm=norm)
    labels = torch.arange(8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(network(_rows()), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    freeze(network, as_statistics(estimate(network, [_rows(), _rows() + 1])))
    proto = export(network, torch.zeros(1, 1, 28, 28), Signature())
    nodes = [node.name for node in proto.graph.node if node.op_type == "BatchNormalization"]
    layers = list(normalization_layers(network))
    assert nodes == layers
    assert len(layers) == (6 if norm in BATCH else 0)
    folded = Counter(node.op_type for node in fold(proto).model.graph.node)
    assert folded["BatchNormalization"] == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_another_normalization(name: str) -> None:
    torch.manual_seed(0)
    plain = build(name)
    torch.manual_seed(0)
    network = build(name, norm="own-batch")
    paths = normalization_layers(plain)
    assert all(type(network.get_submodule(p)).__module__.startswith("training.") for p in paths)
    for key, value in plain.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    without = build(name, norm="none")
    assert not normalization_layers(without)


def test_which_layer_stands_where() -> None:
    kinds = {"group": GroupNorm, "instance": InstanceNorm2d, "whitened": DecorrelatedBatchNorm2d}
    for norm, kind in kinds.items():
        assert isinstance(build("mnist-cnn", norm=norm).get_submodule("features.1"), kind)
    layer = build("mnist-cnn", norm="layer").get_submodule("features.1")
    assert isinstance(layer, GroupNorm)
    assert layer.num_groups == 1  # all channels and positions


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: build("mnist-cnn", norm="batch"), "expected a normalization of torch-batch"),
        (lambda: build_for_training("mnist-mlp", "instance"), "cannot have norm instance"),
        (lambda: PRESETS["mnist-cnn"].replace(norm="batch"), "norm"),
    ],
)
def test_what_cannot_be_is_refused(call: object, says: str) -> None:
    with pytest.raises(UnusableInput, match=says):
        call()  # type: ignore[operator]


def test_population_statistics_of_an_l1_layer_are_averages_over_the_batches() -> None:
    layer, batches = L1BatchNorm1d(3), [_rows(2).flatten(2)[..., :3].squeeze(1) + i for i in (0, 5)]
    network = nn.Sequential(layer)
    moments = estimate(network, batches)["0"]
    centres, squares = zip(*(layer.statistics(batch.double()) for batch in batches), strict=True)
    torch.testing.assert_close(torch.as_tensor(moments.mean), sum(centres) / 2)
    torch.testing.assert_close(moments.variance, sum(squares) / 2)
    assert moments.count == 4


def test_the_doctor_knows_own_and_frozen_layers() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        build("mnist-cnn", width=3, norm="own-batch").get_submodule("features.1"),
    )
    network(_rows())
    frozen = freeze_batch_norms(nn.Sequential(*network))
    for module in (network, frozen):
        layers = from_module(module.eval(), _rows(1)).layers
        assert [layer.name for layer in layers] == ["1"]
        assert layers[0].var is not None
    assert isinstance(frozen.get_submodule("1"), FrozenBatchNorm2d)


def test_a_frozen_network_is_exported_with_every_layer() -> None:
    network = freeze_batch_norms(build("mnist-cnn", width=3))
    assert not any(isinstance(module, BatchNorm) for module in network.modules())
    proto = export(network, torch.zeros(1, 1, 28, 28), Signature())
    assert [n.op_type for n in proto.graph.node].count("BatchNormalization") == 6
