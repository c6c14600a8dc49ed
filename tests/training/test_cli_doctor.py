"""`foldserve doctor` as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.training.doctor.networks import CHANNELS, healthy, rows

INITIAL = {
    "first.mean": np.zeros(CHANNELS, np.float32),
    "first.var": np.ones(CHANNELS, np.float32),
}


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from training.cli import main; main()", *map(str, arguments)]
    environment = {"COLUMNS": "160", "PATH": "/usr/bin", "PYTHONPATH": "."}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    path = tmp_path / "sick.onnx"
    onnx.save(healthy(INITIAL, bias=True), path)
    return path


def test_errors_are_told_in_a_table_and_by_the_exit_status(sick: Path) -> None:
    done = _run("doctor", sick)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert done.stdout.index("BN005") < done.stdout.index("BN019")
    assert "1 error, 0 warnings, 2 remarks" in done.stdout


def test_ignored_rules_are_left_out(sick: Path) -> None:
    done = _run("doctor", sick, "--ignore", "BN005", "--ignore", "bn019")
    assert done.returncode == 0, done.stderr
    assert "0 errors, 0 warnings, 0 remarks" in done.stdout
    assert "2 ignored" in done.stdout


def test_json_has_the_figures_and_what_could_not_be_checked(sick: Path) -> None:
    done = _run("doctor", sick, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["errors"], told["warnings"]) == (1, 0)
    assert told["findings"][0]["id"] == "BN005"
    assert told["not_checked"]["BN031"] == "data: --data FILE.npz"


def test_data_and_another_network_are_taken(sick: Path, tmp_path: Path) -> None:
    onnx.save(healthy(), tmp_path / "a.onnx")
    np.savez(tmp_path / "a.npz", images=rows(100) * 255)
    done = _run("doctor", tmp_path / "a.onnx", "--data", tmp_path / "a.npz", "--json")
    assert done.returncode == 1, done.stderr
    assert {"BN031", "BN029"} <= {found["id"] for found in json.loads(done.stdout)["findings"]}
    done = _run("doctor", tmp_path / "a.onnx", "--against", sick, "--relation", "rank", "--json")
    assert [found["id"] for found in json.loads(done.stdout)["findings"]] == ["BN027"]
    done = _run("doctor", tmp_path / "a.onnx", "--batch-size", "4")
    assert "BN026" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.onnx"], "no.onnx: expected a readable file or folder"),
        (["sick.onnx", "--ignore", "BN099"], "expected a rule of BN001 to BN034, got BN099"),
        (["sick.onnx", "--data", "no.npz"], "no.npz: expected a readable .npz file"),
        (["sick.onnx", "--against", "no.onnx"], "no.onnx: expected a readable"),
        (["."], "checkpoint.pt: expected a checkpoint, found no file"),
    ],
)
def test_unusable_input_is_one_sentence(
    arguments: list[str], message: str, sick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", "from training.cli import main; main()", "doctor", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=sick.parent,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin"},
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert message in line


def test_a_bundle_is_forced_by_the_command(sick: Path, tmp_path: Path) -> None:
    options: list[str | Path] = ["--name", "net", "--models", tmp_path / "models"]
    done = _run("bundle", sick, *options)
    assert done.returncode == 1
    assert "BN005 error: first" in done.stderr
    assert not (tmp_path / "models").exists()
    done = _run("bundle", sick, *options, "--force")
    assert done.returncode == 0, done.stderr
    assert "forced in spite of BN005 error" in done.stdout
