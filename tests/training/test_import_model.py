"""`foldserve export` as a user meets it: sources, options, one sentence for what cannot be."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from training.checkpoint import Checkpoint
from training.cli import main

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, bias=False)
        self.bn = nn.SyncBatchNorm(8)

    def forward(self, image, gain):
        y = self.bn(self.conv(image)).relu()
        return {"pixels": y, "pooled": y.mean((2, 3)) * gain}

def number():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of the user's."""
    (tmp_path / "user_nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return tmp_path


def _export(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What the command printed: a result, or one sentence on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(["export", *arguments])
    printed = capsys.readouterr()
    assert (caught.value.code or 0) == status, printed.err
    if not status:
        return printed.out
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1, printed.err
    return printed.err


def test_a_factory_with_weights_becomes_onnx(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    state = {
        "module.conv.weight": torch.randn(8, 1, 3, 3),
        "module.bn.weight": torch.rand(8) + 0.5,
        "module.bn.bias": torch.randn(8),
        "module.bn.running_mean": torch.randn(8),
        "module.bn.running_var": torch.rand(8) + 0.5,
    }
    torch.save({"state_dict": state}, folder / "w.pth")
    options = ["--weights", "w.pth", "--input", "1x1x*x16", "--input", "gain:1x8", "--json"]
    source = ["user_nets:Net", "--kwargs", '{"channels": 1}', "--out", "net.onnx"]
    printed = _export(capsys, *source, *options)
    assert json.loads(printed)["normalization_layers"] == ["bn"]

    image, gain = torch.randn(4, 1, 20, 16), torch.randn(4, 8)
    y = nn.functional.conv2d(image, state["module.conv.weight"])
    weight, bias, mean, var = (
        state[f"module.bn.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    y = nn.functional.batch_norm(y, mean, var, weight, bias).relu()
    session = onnxruntime.InferenceSession(folder / "net.onnx")
    feeds = {"image": image.numpy(), "gain": gain.numpy()}
    pixels, pooled = session.run(["pixels", "pooled"], feeds)
    assert np.allclose(pixels, y, atol=1e-5)
    assert np.allclose(pooled, y.mean((2, 3)) * gain, atol=1e-5)


def test_a_network_of_ours_takes_arguments(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = '{"num_classes": 5, "in_channels": 2}'
    _export(capsys, "cnn-1d", "--kwargs", arguments, "--out", "net.onnx")
    graph = onnx.load(folder / "net.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [0, 2, 256]
    assert [value.name for value in (*graph.input, *graph.output)] == ["series", "logits"]


def test_an_exported_program_becomes_onnx(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    torch.export.save(torch.export.export(network, (torch.randn(2, 3),)), folder / "net.pt2")
    printed = _export(capsys, "net.pt2", "--out", "net.onnx")
    assert "1 normalization layers kept" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("user_nets:Net --out x.onnx", "expected the shapes of its inputs, such as --input 1x3x2"),
        ("user_nets:Nett --input 1x3 --out x.onnx", "expected 'Nett' in user_nets, found none"),
        ("no_nets:Net --input 1x3 --out x.onnx", "expected a module 'no_nets'"),
        ("user_nets:number --input 1x3 --out x.onnx", "expected a torch.nn.Module, got int"),
        ('user_nets:Net --kwargs {"a":1} --input 1x3 --out x.onnx', "gave TypeError"),
        ("user_nets:Net --kwargs [] --input 1x3 --out x.onnx", "expected a JSON object"),
        ("user_nets:Net --input 1x3xq --out x.onnx", "expected [NAME:][TYPE:]SIZES"),
        ("user_nets:Net --input 1x3x9x9 --out x.onnx", "got TypeError: "),
        ("user_nets:Net --input 1x4x9x9 --input 1x8 --out x.onnx", "got RuntimeError: "),
        ("user_nets:Net --input i64:1x3x9x9 --input 1x8 --out x.onnx", "got RuntimeError: "),
        ("user_nets:Net --input 1x3x9x9 --weights no.pth --out x.onnx", "no.pth: expected a file"),
        ("user_nets:Net --input 1x3x9x9 --weights user_nets.py --out x.onnx", "user_nets.py: exp"),
        ("user_nets:Net --input 1x3 --pretrained --out x.onnx", "expected a network of ours"),
        ("user_nets:Net --input 1x3 --weights-key a --out x.onnx", "expected --weights with it"),
        ("resnet-18 --kwargs {} --pretrained --out x.onnx", "expected mobilenet-v2 or efficientn"),
        ('cnn-1d --kwargs {"classes":3} --out x.onnx', "network 'cnn-1d': expected other argum"),
        ('cnn-1d --kwargs {"in_channels":"a"} --out x.onnx', "'cnn-1d': expected other arguments"),
        ("mobilenet-v2 --pretrained --weights a.pt --out x.onnx", "expected --weights or --pretr"),
        ("none.pt2 --out x.onnx", "none.pt2: expected an exported program, found no file"),
        ("none.pt2 --input 1x3 --out x.onnx", "expected no --input"),
        ("runs/none --out x.onnx", "runs/none: expected a checkpoint, found no file"),
        ("runs/none --weights a.pt --kwargs {} --out x.onnx", "expected no --kwargs, --weights"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(
    arguments: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in _export(capsys, *arguments.split(), status=2)
    assert [name for name in os.listdir(folder) if name != "__pycache__"] == ["user_nets.py"]


def test_a_run_is_still_exported(
    short_run: Checkpoint, run_folder: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "6 normalization layers kept" in _export(capsys, str(run_folder), "--out", "run.onnx")
