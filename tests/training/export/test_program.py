"""Exported programs: the same graph as of the module, and no code run to read one."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim

from training.errors import UnusableInput
from training.export.program import export_program, read_program
from training.networks import build
from training.provenance import read_provenance


def _saved(network: nn.Module, folder: Path) -> Path:
    program = torch.export.export(
        network,
        (torch.randn(2, 1, 28, 28),),
        dynamic_shapes=({0: Dim.DYNAMIC},),
    )
    torch.export.save(program, folder / "network.pt2")
    return folder / "network.pt2"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network with statistics, and its exported program."""
    torch.manual_seed(0)
    network = build("mnist-cnn")
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 1, 28, 28))
    return network, _saved(network.eval(), tmp_path_factory.mktemp("program"))


def test_a_program_keeps_its_layers_and_answers(saved: tuple[nn.Module, Path]) -> None:
    network, path = saved
    model = export_program(read_program(path))
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert [node.name for node in nodes] == [f"features.{i}" for i in (1, 4, 8, 11, 15, 18)]
    provenance = read_provenance({e.key: e.value for e in nodes[0].metadata_props}, "?")
    assert (provenance.momentum, provenance.count) == (0.1, 3)
    rows = torch.randn(5, 1, 28, 28)
    with torch.no_grad():
        expected = network(rows).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (got,) = session.run(["output"], {"image": rows.numpy()})
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_program_of_training_is_refused(tmp_path: Path) -> None:
    program = read_program(_saved(nn.Sequential(nn.BatchNorm2d(1)).train(), tmp_path))
    with pytest.raises(UnusableInput, match=r"exported in eval mode, got one in train\(\)"):
        export_program(program)


def _rewritten(path: Path, folder: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy with every member as `change` makes it, or without it."""
    target = folder / "changed.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name.replace("network/", "changed/"), data)
    return target


def _replacing(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(old.encode(), new.encode()) if name.endswith(".json") else data

    return change


def test_operators_outside_pytorchs_own_are_refused(
    saved: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    change = _replacing("torch.ops.aten.relu_.default", "torch.os.system")
    path = _rewritten(saved[1], tmp_path, change)
    with pytest.raises(UnusableInput, match=r"expected PyTorch's operators, got 'torch.os.system'"):
        read_program(path)


@pytest.mark.parametrize("evil", ["__import__('os').system('true')", "Symbol('a b')", "open(s0)"])
def test_expressions_that_are_no_sizes_are_refused(
    evil: str, saved: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    def change(name: str, data: bytes) -> bytes:
        return _with_expression(data, evil) if name.endswith(".json") else data

    path = _rewritten(saved[1], tmp_path, change)
    with pytest.raises(UnusableInput, match="expected sizes, got the expression"):
        read_program(path)


def _with_expression(data: bytes, text: str) -> bytes:
    def walk(value: object) -> object:
        if isinstance(value, dict):
            return {k: text if k == "expr_str" else walk(v) for k, v in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    return json.dumps(walk(json.loads(data))).encode()


class _Evil:
    """Makes a file when it is unpickled as pickles are."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("was_run"),)  # type: ignore[return-value]


def test_pickles_that_would_run_code_are_refused(
    saved: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save(_Evil(), buffer)

    def change(name: str, data: bytes) -> bytes:
        return buffer.getvalue() if name.endswith(".pt") else data

    path = _rewritten(saved[1], tmp_path, change)
    with pytest.raises(UnusableInput, match=r"changed\.pt2: expected an exported program"):
        read_program(path)
    assert not (tmp_path / "was_run").exists()


def test_objects_in_a_program_are_refused(saved: tuple[nn.Module, Path], tmp_path: Path) -> None:
    path = _rewritten(saved[1], tmp_path, lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("changed/data/constants/opaque_obj_0", b"")
    with pytest.raises(UnusableInput, match="expected tensors only, found the object"):
        read_program(path)


@pytest.mark.parametrize("data", [b"", b"no program", b"PK\x03\x04" + bytes(40)])
def test_files_of_something_else_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(data)
    with pytest.raises(UnusableInput, match=r"x\.pt2: expected an exported program"):
        read_program(tmp_path / "x.pt2")
    with pytest.raises(UnusableInput, match=r"y\.pt2: expected an exported program, found no file"):
        read_program(tmp_path / "y.pt2")
