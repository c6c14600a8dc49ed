"""Every kind of normalization layer is one node with its module's numbers; nothing stays behind."""

import copy
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from training.errors import AnswerIsNo
from training.export import export_inputs
from training.export.inputs import parse_inputs
from training.graph import LAYER
from training.provenance import read_provenance


def _filled(layer: nn.Module, *, count: int = 7) -> nn.Module:
    """Statistics and affine parameters that could not be another layer's."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in layer.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(count)
        elif name.endswith("running_var"):
            tensor.uniform_(0.2, 3, generator=generator)
        else:
            tensor.uniform_(-2, 2, generator=generator)
    return layer


class Frozen(nn.Module):
    """As detection libraries write it: four buffers, and arithmetic."""

    def __init__(self, channels: int, eps: float | None = 1e-3) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))
        if eps is not None:
            self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """w·x + b on the fly."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        mean, var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        scale = weight * (var + getattr(self, "eps", 0.0)).rsqrt()
        shift = bias - mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


class FrozenBatchNorm2d(Frozen):
    """The usual name."""


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm writes it: the layer and an activation in one module."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-4, momentum=0.05)
        self.act = nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        """act(BN(x))."""
        mean, var = self.running_mean, self.running_var
        normal = nn.functional.batch_norm(
            input, mean, var, self.weight, self.bias, self.training, 0.05, self.eps
        )
        result: Tensor = self.act(normal)
        return result


KINDS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "1d": (lambda: nn.BatchNorm1d(3, eps=1e-3, momentum=0.2), "1x3"),
    "1d series": (lambda: nn.BatchNorm1d(3), "1x3x5"),
    "2d": (lambda: nn.BatchNorm2d(3, momentum=None), "1x3x4x4"),
    "3d": (lambda: nn.BatchNorm3d(3), "1x3x2x2x2"),
    "without affine": (lambda: nn.BatchNorm2d(3, affine=False), "1x3x4x4"),
    "sync": (lambda: nn.SyncBatchNorm(3), "1x3x4x4"),
    "with activation": (lambda: BatchNormAct2d(3), "1x3x4x4"),
    "frozen": (lambda: FrozenBatchNorm2d(3), "1x3x4x4"),
    "frozen without epsilon": (lambda: FrozenBatchNorm2d(3, eps=None), "1x3x4x4"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_is_one_node_with_its_numbers(kind: str) -> None:
    make, shape = KINDS[kind]
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Identity(), _filled(make())))
    layer = network.get_submodule("stem.1")
    model = export_inputs(network, parse_inputs([shape]))

    (node,) = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert node.name == "stem.1"
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    state = layer.state_dict()
    assert np.array_equal(held[node.input[3]], state["running_mean"])
    assert np.array_equal(held[node.input[4]], state["running_var"])
    provenance = read_provenance({entry.key: entry.value for entry in node.metadata_props}, "?")
    frozen = isinstance(layer, Frozen)
    assert provenance.momentum == (None if frozen else getattr(layer, "momentum"))  # noqa: B009
    assert provenance.count == (None if frozen else 7)
    epsilon = {entry.name: entry.f for entry in node.attribute}["epsilon"]
    assert epsilon == pytest.approx(getattr(layer, "eps", 1e-30), rel=1e-6)
    assert type(network.get_submodule("stem.1")) is type(layer)
    assert network.training

    rows = torch.randn(2, *parse_inputs([shape])[0].sizes[1:])
    with torch.no_grad():
        expected = network.eval()(rows).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (got,) = session.run(None, {"input": rows.numpy()})
    assert np.allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_lazy_layers_get_their_shapes_in_the_copy_only() -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    model = export_inputs(network, parse_inputs(["1x3x8x8"]))
    assert [n.name for n in model.graph.node if n.op_type == "BatchNormalization"] == ["1"]
    layer = network[1]
    assert isinstance(layer, nn.LazyBatchNorm2d)
    assert layer.has_uninitialized_params()
    assert network.training


class _ScaledBatchNorm(Frozen):
    """Named and equipped like a normalization, but it computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the usual."""
        return 2 * super().forward(x)


def test_what_only_looks_like_a_layer_is_left_as_it_is() -> None:
    network = nn.Sequential(_filled(_ScaledBatchNorm(3)))
    model = export_inputs(network, parse_inputs(["1x3x4x4"]))
    assert not [n for n in model.graph.node if n.op_type == "BatchNormalization"]


class _Shared(nn.Module):
    """One layer under two paths, and the same layer called twice under one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(_filled(nn.BatchNorm2d(3)))
        self.second = nn.ModuleDict({"again": self.first[0]})

    def forward(self, x: Tensor) -> Tensor:
        """Three calls."""
        y = self.second["again"](self.first(x).relu())
        result: Tensor = self.first(y.relu())
        return result


def test_calls_of_one_layer_are_numbered_under_its_first_path() -> None:
    model = export_inputs(_Shared(), parse_inputs(["1x3x4x4"]))
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    names = ["first.0", "first.0#2", "first.0#3"]
    assert [node.name for node in nodes] == names
    recorded = [{e.key: e.value for e in node.metadata_props}[LAYER] for node in nodes]
    assert recorded == names


class _Stubborn(nn.Module):
    """Normalizes by the batch whatever its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("var", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        """Training mode for ever."""
        mean, var = self.get_buffer("mean"), self.get_buffer("var")
        return nn.functional.batch_norm(x, mean, var, training=True)


def test_a_layer_that_normalizes_by_its_batch_also_in_eval_mode_is_refused() -> None:
    """The exporter would write it as inference, silently."""
    with pytest.raises(AnswerIsNo, match="expected ONNX Runtime to answer as PyTorch does"):
        export_inputs(nn.Sequential(_Stubborn()), parse_inputs(["1x3x4x4"]))


def test_nothing_is_left_behind_in_the_network() -> None:
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)),
        nn.SyncBatchNorm(3),
        _filled(FrozenBatchNorm2d(3)),
        nn.Dropout(),
    )
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    objects = [id(module) for module in network.modules()]
    hooks = [len(module._forward_hooks) for module in network.modules()]
    export_inputs(network, parse_inputs(["1x3x4x4"]))
    assert [module.training for module in network.modules()] == modes
    assert [id(module) for module in network.modules()] == objects
    assert [len(module._forward_hooks) for module in network.modules()] == hooks
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype
