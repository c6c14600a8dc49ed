"""What PyTorch's exporters make of a network: healthy ones, and their traps."""

import io
import warnings

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.training.doctor.networks import ask
from training.config import PRESETS
from training.doctor import examine, from_onnx
from training.export import Signature, export
from training.networks import build


@pytest.mark.parametrize("name", sorted({preset.network for preset in PRESETS.values()}))
def test_the_presets_have_no_errors_after_a_little_training(name: str) -> None:
    torch.manual_seed(0)
    network = build(name)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(45):
        labels = torch.randint(10, (8,))
        pictures = torch.randn(8, 1, 28, 28) + labels.view(-1, 1, 1, 1) / 5
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(pictures), labels))
        optimizer.step()
    model = export(network.eval(), torch.zeros(1, 1, 28, 28), Signature())
    assert examine(from_onnx(model)).errors == ()


def _untracked() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


def _exported(network: nn.Module, **options: object) -> onnx.ModelProto:
    example = (torch.randn(2, 3, 8, 8),)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, example, file, verbose=False, **options)  # type: ignore[arg-type]
    model = onnx.ModelProto()
    model.ParseFromString(file.getvalue())
    return model


def test_statistics_that_the_exporter_computes_in_the_graph_are_found() -> None:
    """No training_mode anywhere: mean and variance come from reductions."""
    dynamic = ({0: torch.export.Dim("batch")},)
    model = _exported(_untracked().eval(), dynamo=True, dynamic_shapes=dynamic)
    assert not any(a.i for n in model.graph.node for a in n.attribute if a.name == "training_mode")
    (found,) = ask(model, "BN002")
    assert found.severity == "error"
    assert [f.severity for f in ask(model, "BN003")] == ["error"]


def test_an_export_in_training_mode_is_found() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    axes = {"x": {0: "batch"}}
    mode = torch.onnx.TrainingMode.TRAINING
    options = {"dynamo": False, "input_names": ["x"], "dynamic_axes": axes, "training": mode}
    model = _exported(network.train(), **options)
    (found,) = ask(model, "BN001")
    assert found.severity == "error"
    assert "training_mode=1" in found.message
    assert [f.severity for f in ask(model, "BN003")] == ["error"]
