"""Export: every BatchNormalization kept under its module's path, and PyTorch's own answers."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from training.errors import AnswerIsNo, UnusableInput
from training.export import Signature, export
from training.fold import fold
from training.graph import LAYER
from training.networks import build
from training.population import normalization_layers
from training.provenance import read_provenance

SIGNATURE = Signature()


def _with_statistics(network: nn.Module) -> nn.Module:
    """Random statistics and affine parameters, so that a mixed-up layer would be seen."""
    generator = torch.Generator().manual_seed(0)
    for layer in normalization_layers(network).values():
        for tensor, low in (
            (layer.running_mean, -1),
            (layer.running_var, 0.5),
            (layer.weight, 0.5),
        ):
            assert tensor is not None
            tensor.data.uniform_(low, 2, generator=generator)
    return network


def _run(model: onnx.ModelProto, rows: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    (answer,) = session.run(["logits"], {"image": rows.numpy()})
    return answer


@pytest.mark.parametrize("name", ["mnist-cnn", "mnist-mlp", "fashion-cnn"])
def test_every_layer_is_kept_and_named_and_the_answers_are_pytorchs(name: str) -> None:
    network = _with_statistics(build(name)).train()
    model = export(network, torch.zeros(1, 1, 28, 28), SIGNATURE)
    assert network.training  # the mode is put back

    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    layers = normalization_layers(network)
    assert [node.name for node in nodes] == list(layers)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node, layer in zip(nodes, layers.values(), strict=True):
        assert layer.running_var is not None
        variance = onnx.numpy_helper.to_array(initializers[node.input[4]])
        assert np.array_equal(variance, layer.running_var.numpy())
        metadata = {entry.key: entry.value for entry in node.metadata_props}
        provenance = read_provenance(metadata, "unknown")
        assert (provenance.layer, provenance.momentum) == (node.name, layer.momentum)
        assert provenance.statistics == "moving average"

    network.eval()
    rows = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(rows).numpy()
    for count in (1, 5):  # the batch dimension is free
        got = _run(model, rows[:count])
        assert np.abs(got - expected[:count]).max() <= 1e-5 * np.abs(expected).max()


def test_nothing_of_the_machine_is_in_the_file() -> None:
    data = export(build("mnist-cnn"), torch.zeros(1, 1, 28, 28), SIGNATURE).SerializeToString()
    assert b"site-packages" not in data
    assert b".py" not in data
    assert LAYER.encode() in data


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x).relu())  # type: ignore[no-any-return]


class _Unused(_Shared):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def test_a_layer_that_is_not_called_is_named() -> None:
    with pytest.raises(UnusableInput, match=r"got 1 nodes; never called: forgotten"):
        export(_Unused(), torch.zeros(1, 3, 4, 4), SIGNATURE)


def test_a_layer_that_is_called_twice_is_two_nodes_of_one_module() -> None:
    network = _with_statistics(_Shared())
    model = export(network, torch.zeros(1, 3, 4, 4), SIGNATURE)
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert [node.name for node in nodes] == ["layer", "layer#2"]
    assert nodes[0].input[3] == nodes[1].input[3]
    assert [layer.name for layer in fold(model).report.layers] == ["layer", "layer#2"]
    rows = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.eval()(rows).numpy()
    assert np.allclose(_run(model, rows), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_without_statistics_is_refused() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(UnusableInput, match="layers 0: expected running statistics to freeze"):
        export(network, torch.zeros(1, 3, 4, 4), SIGNATURE)


def test_other_answers_than_pytorchs_are_refused() -> None:
    class Lying(nn.Module):
        """Answers otherwise when it is exported than when it runs."""

        def forward(self, x: Tensor) -> Tensor:
            return x * (1.001 if torch.compiler.is_compiling() else 1.0)

    with pytest.raises(AnswerIsNo, match=r"within 1e-05, got 0.001"):
        export(Lying(), torch.zeros(1, 3), SIGNATURE)


def test_the_network_itself_is_not_changed() -> None:
    network = _with_statistics(build("mnist-mlp"))
    before = copy.deepcopy(network.state_dict())
    export(network, torch.zeros(1, 1, 28, 28), SIGNATURE)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
