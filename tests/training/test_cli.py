"""The command line as a user meets it: a process, its two streams and its exit status."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from training.checkpoint import FILE, Checkpoint, load_checkpoint

CONFIG = """
network = "mnist-mlp"
dataset = "mnist"
epochs = 1
batch_size = 50
train_images = 500
population_batches = 2
"""


def _command(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-c", "from training.cli import main; main()", *map(str, arguments)]


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(arguments), capture_output=True, text=True, timeout=120, check=False
    )


def _sentence(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line on standard error of a command that failed as it should."""
    assert done.returncode == status, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return lines[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A folder with a run and a bundle of it, made by one command, and what that printed."""
    folder = tmp_path_factory.mktemp("cli")
    config = folder / "small.toml"
    config.write_text(CONFIG)
    done = _run("train", config, "--out", folder / "run", "--bundle", folder / "models", "--json")
    assert done.returncode == 0, done.stderr
    assert "epoch  1/1" in done.stderr
    return folder, json.loads(done.stdout)


def test_train_reports_and_bundles(trained: tuple[Path, dict[str, object]]) -> None:
    folder, told = trained
    assert told["bundle"] == str(folder / "models" / "small" / "1")
    assert (
        told["accuracy_population"]
        == load_checkpoint(folder / "run").metrics["accuracy_population"]
    )


def test_export_fold_and_bundle_go_on_from_a_run(
    trained: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    folder, _ = trained
    exported, folded, report = (tmp_path / name for name in ("a.onnx", "b.onnx", "fold.json"))
    done = _run("export", folder / "run", "--out", exported, "--json")
    layers = ["hidden.2", "hidden.5", "hidden.8"]
    assert json.loads(done.stdout)["normalization_layers"] == layers, done.stderr

    done = _run("fold", exported, folded, "--report", report)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 normalization layers folded" in done.stdout
    assert [layer["name"] for layer in json.loads(report.read_text())["layers"]] == layers
    operators = {node.op_type for node in onnx.load(folded).graph.node}
    assert "BatchNormalization" not in operators

    labels, pictures = tmp_path / "labels.txt", tmp_path / "pictures.toml"
    labels.write_text("\n".join("0123456789"))
    pictures.write_text('width=28\nheight=28\ncolour="L"\nmean=[0.13]\nstd=[0.31]\n')
    options: list[str | Path] = ["--labels", labels, "--preprocessing", pictures, "--softmax"]
    done = _run("bundle", exported, "--name", "mlp", "--models", tmp_path / "models", *options)
    assert done.returncode == 0, done.stderr
    assert "bit-equal alone and in batches of 2, 3, 8, 17, 32" in done.stdout
    assert (tmp_path / "models" / "mlp" / "1" / "manifest.json").is_file()


def test_an_interrupted_training_leaves_a_checkpoint_and_resumes(tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text(CONFIG.replace("epochs = 1", "epochs = 400"))
    command = _command(["train", config, "--out", tmp_path / "run"])
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "epoch   1/400" in process.stderr.readline().replace("epoch  1", "epoch   1")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "go on with --resume" in rest
    assert "Traceback" not in rest
    assert 10 <= load_checkpoint(tmp_path / "run").step < 4000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "nothing"],
            "expected a preset of mnist-cnn, mnist-mlp, fashion-cnn, or a .toml",
        ),
        (["train", "none.toml"], "none.toml: expected a readable file, got No such file"),
        (["train", "mnist-mlp", "--epochs", "0"], "epochs: Input should be greater than 0"),
        (["export", "no-run", "--out", "x.onnx"], "no-run: expected a checkpoint, found no file"),
        (["fold", "none.onnx", "x.onnx"], "none.onnx: expected a readable file, got No such file"),
        (["fold", "text.onnx", "x.onnx"], "text.onnx: expected an ONNX"),
        (["bundle", "text.onnx", "--name", "a/b"], "text.onnx: expected an ONNX"),
    ],
)
def test_unusable_input_is_one_sentence_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("This is no network.")
    assert message in _sentence(_run(*arguments), status=2)
    assert os.listdir(tmp_path) == ["text.onnx"]


def test_a_truncated_network_is_one_sentence(
    trained: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    source = (trained[0] / "models" / "small" / "1" / "source.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(source[: len(source) // 2])
    done = _run("fold", tmp_path / "cut.onnx", tmp_path / "out.onnx")
    assert "cut.onnx: expected" in _sentence(done, status=2)
    assert not (tmp_path / "out.onnx").exists()


def test_a_fold_is_proved_on_the_user_s_rows(
    trained: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    source = trained[0] / "models" / "small" / "1" / "source.onnx"
    sample, out = tmp_path / "sample.npz", tmp_path / "out.onnx"
    np.savez(sample, images=np.zeros((70, 1, 28, 28), np.float32))
    told = [
        json.loads(_run("fold", source, out, "--data", sample, *more, "--json").stdout)
        for more in ([], ["--rows", "3"])
    ]
    assert [one["equivalence"]["rows"] for one in told] == [64, 3]
    np.savez(sample, images=np.zeros((70, 3), np.float32))
    out.unlink()
    done = _run("fold", source, out, "--data", sample)
    assert "'image': expected [-1, 1, 28, 28], got [70, 3]" in _sentence(done, status=2)
    assert not out.exists()


def test_weights_beside_the_file_are_folded_and_elsewhere_refused(
    trained: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    model = onnx.load(trained[0] / "models" / "small" / "1" / "source.onnx")
    outside = tmp_path / "outside.onnx"
    onnx.save(model, outside, save_as_external_data=True, size_threshold=0, location="weights")
    done = _run("fold", outside, tmp_path / "out.onnx")
    assert "3 of 3 normalization layers folded" in done.stdout, done.stderr
    (tmp_path / "weights").rename(tmp_path.parent / "weights")
    (tmp_path / "weights").symlink_to(tmp_path.parent / "weights")
    done = _run("fold", outside, tmp_path / "again.onnx")
    assert "expected weights in a file of the same folder" in _sentence(done, status=2)
    assert not (tmp_path / "again.onnx").exists()


@pytest.mark.parametrize("command", ["train", "export", "fold", "bundle", "doctor", "serve"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = _run(command, "--help")
    assert done.returncode == 0
    assert f"Example: foldserve {command}" in done.stdout


def test_a_run_that_exists_is_not_overwritten(
    short_run: Checkpoint, run_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    before = (run_folder / FILE).read_bytes()
    sentence = _sentence(_run("train", config, "--out", run_folder), status=2)
    assert "there is a run already; go on with --resume" in sentence
    assert (run_folder / FILE).read_bytes() == before


def test_help_and_serving_do_not_need_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from training.cli import main; main(['--help'])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 10
    code = code.replace("['--help']", "['fold', 'a', 'b']")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'foldserve[offline]'" in _sentence(done, status=2)


def test_serve_serves_and_stops_as_the_service_does(
    trained: tuple[Path, dict[str, object]],
) -> None:
    command = _command(["serve", "--models", trained[0] / "models", "--port", "0"])
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("serving 1 of 1 versions" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_serve_refuses_what_the_service_refuses() -> None:
    done = _run("serve", "--port", "70000")
    assert "--port: Input should be less than or equal to 65535" in _sentence(done, status=2)
