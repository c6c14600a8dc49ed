"""What the doctor can be shown: files, folders, and state dicts without their module."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from service.manifest import Preprocessing
from tests.training.doctor.networks import ask, healthy, rows
from training.bundle import Description, write_bundle
from training.checkpoint import Checkpoint, load_checkpoint
from training.doctor import examine
from training.doctor.rows import draw_rows, read_rows
from training.doctor.runner import Input
from training.doctor.targets import open_target
from training.errors import UnusableInput

INPUT = (Input("x", np.dtype(np.float32), (None, 3, 6, 6)),)


def _state(**changes: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    for _ in range(60):
        network(torch.randn(8, 3, 8, 8))
    return network.state_dict() | changes


def test_the_short_run_has_no_errors(short_run: Checkpoint, run_folder: Path) -> None:
    patient = open_target(run_folder)
    diagnosis = examine(patient)
    assert diagnosis.errors == ()
    assert {found.id for found in diagnosis.findings} <= {"BN017", "BN024", "BN030"}
    assert "BN026" in diagnosis.checked  # the mini-batch is known
    assert [layer.name for layer in patient.layers][:2] == ["features.1", "features.4"]


def test_a_run_that_diverged_is_diagnosed_from_its_state(
    short_run: Checkpoint, run_folder: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(run_folder)
    checkpoint.model["features.4.running_mean"][3] = torch.nan
    checkpoint.population["features.4"]["mean"][3] = torch.nan
    checkpoint.save(tmp_path)
    diagnosis = examine(open_target(tmp_path))
    assert [(f.id, f.layer, f.channel) for f in diagnosis.errors] == [("BN008", "features.4", 3)]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_is_examined_without_its_module(suffix: str, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in _state().items()}
    state["module.1.running_var"][2] = -1
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": torch.ones(2)}}, path)
    else:
        save_file(state, path)
    patient = open_target(path)
    assert [layer.name for layer in patient.layers] == ["1"]  # GroupNorm tracks nothing
    diagnosis = examine(patient)
    assert [(f.id, f.layer, f.channel) for f in diagnosis.errors] == [("BN009", "1", 2)]
    assert {"BN001", "BN003", "BN007", "BN010", "BN031"} <= diagnosis.not_checked.keys()


def test_bfloat16_weights_are_read(tmp_path: Path) -> None:
    state = {k: v.bfloat16() if v.is_floating_point() else v for k, v in _state().items()}
    save_file(state, tmp_path / "half.safetensors")
    torch.save(state, tmp_path / "half.pt")
    for name in ("half.safetensors", "half.pt"):
        (layer,) = open_target(tmp_path / name).layers
        assert layer.channels == 4
        assert examine(open_target(tmp_path / name)).errors == ()


def test_a_healthy_state_dict_has_no_findings(tmp_path: Path) -> None:
    torch.save(_state(), tmp_path / "w.pt")
    assert examine(open_target(tmp_path / "w.pt")).findings == ()


def test_state_dicts_beside_each_other_are_all_examined(tmp_path: Path) -> None:
    """The averaged weights kept the initial statistics: EMA over parameters alone."""
    stale = _state(**{"1.running_mean": torch.zeros(4), "1.running_var": torch.ones(4)})
    torch.save({"model": _state(), "model_ema": stale}, tmp_path / "w.pt")
    diagnosis = examine(open_target(tmp_path / "w.pt"))
    assert [(f.id, f.layer) for f in diagnosis.errors] == [("BN005", "model_ema/1")]
    assert "2 state dicts (model, model_ema)" in diagnosis.notes[0]


def test_missing_statistics_are_told_by_what_is_left() -> None:
    from training.doctor.weights import from_state_dicts

    ones = np.ones(4, np.float32)
    partial = {"a.weight": ones, "a.bias": ones, "a.num_batches_tracked": np.array(7)}
    called = {"layer1.bn1.weight": ones, "layer1.bn1.bias": ones}
    norm = {"ln.weight": ones, "ln.bias": ones}
    found = ask(from_state_dicts({"": partial | called | norm}, "w"), "BN004")
    assert [(f.severity, f.layer) for f in found] == [("error", "a"), ("warning", "layer1.bn1")]
    assert "(if it is what it is called)" in found[1].message


def test_converted_weights_without_a_counter_are_only_remarked_on(tmp_path: Path) -> None:
    torch.save(_state(**{"1.num_batches_tracked": torch.tensor(0)}), tmp_path / "w.pt")
    (found,) = ask(open_target(tmp_path / "w.pt"), "BN005")
    assert found.severity == "info"


def test_a_bundle_is_examined_with_its_source_and_without(tmp_path: Path) -> None:
    folder = write_bundle(healthy(), Description("net"), tmp_path).folder
    diagnosis = examine(open_target(folder))
    assert diagnosis.findings == ()
    assert {"BN003", "BN011", "BN021"} <= set(diagnosis.checked)
    (folder / "source.onnx").unlink()
    bare = examine(open_target(folder))
    assert bare.errors == ()
    assert "without source.onnx" in bare.notes[0]
    assert {"BN003", "BN005", "BN010", "BN015"} <= set(bare.checked)
    assert "BN021" in bare.not_checked


def test_a_damaged_bundle_is_unusable(tmp_path: Path) -> None:
    folder = write_bundle(healthy(), Description("net"), tmp_path).folder
    (folder / "layers.json").write_text("[]")
    with pytest.raises(UnusableInput, match=r"layers\.json: expected"):
        open_target(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"no weights", "expected a PyTorch file"),
        ("a.pt", b"", "expected a PyTorch file"),
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0notjson!", "expected a .safetensors file"),
        ("a.onnx", b"text", "expected an ONNX"),
    ],
)
def test_unusable_targets_are_one_sentence(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableInput, match=message):
        open_target(tmp_path / name)
    with pytest.raises(UnusableInput, match="found none"):
        open_target(tmp_path / f"no-{name}")


def test_pickles_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save(nn.BatchNorm2d(3), tmp_path / "module.pt")
    with pytest.raises(UnusableInput, match="expected a PyTorch file of weights"):
        open_target(tmp_path / "module.pt")


def test_onnx_files_and_bundles_are_examined_without_pytorch(tmp_path: Path) -> None:
    onnx.save(healthy(), tmp_path / "a.onnx")
    folder = write_bundle(healthy(), Description("net"), tmp_path / "models").folder
    save_file(_state(), tmp_path / "w.safetensors")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from training.cli import main; main(['doctor', sys.argv[1], '--json'])"
    )
    for target in (tmp_path / "a.onnx", folder, tmp_path / "w.safetensors"):
        command = [sys.executable, "-c", code, str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["errors"] == 0


def test_rows_are_found_by_name_or_as_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=rows(5))
    np.savez(tmp_path / "b.npz", images=rows(5).astype(np.float64), labels=np.arange(5))
    np.savez(tmp_path / "c.npz", images=np.moveaxis(rows(5), 1, 3))
    for name in "abc":
        read = read_rows(tmp_path / f"{name}.npz", INPUT, "unknown")
        assert np.array_equal(read.inputs["x"], rows(5))
        assert read.inputs["x"].dtype == np.float32
    labelled = read_rows(tmp_path / "b.npz", INPUT, "training").labels
    assert labelled is not None
    assert labelled.tolist() == [0, 1, 2, 3, 4]


def test_bytes_go_through_the_preprocessing_of_a_bundle(tmp_path: Path) -> None:
    pictures = Preprocessing(width=6, height=6, colour="RGB", mean=(0.5, 0, 0), std=(0.5, 1, 1))
    np.savez(tmp_path / "a.npz", images=np.full((2, 6, 6, 3), 255, np.uint8))
    read = read_rows(tmp_path / "a.npz", INPUT, "live", pictures)
    assert np.allclose(read.inputs["x"], 1)
    raw = read_rows(tmp_path / "a.npz", INPUT, "live")
    assert np.allclose(raw.inputs["x"], 255)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": rows(2)}, "expected arrays x"),
        ({"x": rows(2)[:, :2]}, r"expected \[-1, 3, 6, 6\], got \[2, 2, 6, 6\]"),
        ({"x": rows(2), "labels": np.arange(3)}, "as many rows as labels"),
        ({"x": rows(2)[:0]}, "at least one, got no rows"),
        ({"x": np.array(["a"])}, "expected numbers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
    message: str,
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UnusableInput, match=message):
        read_rows(tmp_path / "a.npz", INPUT, "unknown")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"text", b"PK\x03\x04cut"])
def test_an_archive_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UnusableInput, match=r"a\.npz: expected"):
        read_rows(tmp_path / "a.npz", INPUT, "unknown")
    with pytest.raises(UnusableInput, match=r"expected a readable .npz file, got No such file"):
        read_rows(tmp_path / "none.npz", INPUT, "unknown")


def test_integer_inputs_are_drawn_within_any_table() -> None:
    drawn = draw_rows((Input("ids", np.dtype(np.int64), (None, None)),), 16).inputs["ids"]
    assert drawn.shape == (16, 32)
    assert set(np.unique(drawn)) == {0, 1}


def test_a_bundle_copied_without_its_source_folder_name_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(healthy(), Description("net"), tmp_path).folder
    shutil.copytree(folder, tmp_path / "elsewhere")
    with pytest.raises(UnusableInput, match="expected the bundle of folder"):
        open_target(tmp_path / "elsewhere")
