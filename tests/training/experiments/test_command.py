"""`foldserve reproduce` and the live metrics of `foldserve train`, as a user meets them."""

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from training.experiments import NAMES, experiment

CONFIG = """
network = "mnist-mlp"
dataset = "mnist"
epochs = 2
batch_size = 20
train_images = 1200
population_batches = 2
"""
HEADER, FOOTER = 12, 4  # bytes around a record: its length with a checksum, another checksum


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from training.cli import main; main()", *map(str, arguments)]


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), capture_output=True, text=True, timeout=200, check=False
    )


def _verdicts(told: str) -> list[str]:
    """Of the findings of the one experiment in what `--json` printed."""
    (one,) = json.loads(told)["experiments"]
    return [finding["verdict"] for finding in one["findings"]]


def _scalars(board: Path) -> dict[str, dict[int, float]]:
    """The scalars of TensorBoard's event file in a folder, by tag and step."""
    (file,) = board.glob("events.out.tfevents.*")
    content, scalars = file.read_bytes(), dict[str, dict[int, float]]()
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        at += HEADER
        event = Event.FromString(content[at : at + length])
        at += length + FOOTER
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


def test_a_report_and_its_findings_as_text_and_as_json(tmp_path: Path) -> None:
    done = _run("reproduce", "axes", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "axes: By hand, against PyTorch" in done.stdout
    assert done.stdout.splitlines()[-1] == f"report {tmp_path / 'report.html'}"
    told = json.loads(_run("reproduce", "axes", "--quick", "--out", tmp_path, "--json").stdout)
    assert told["report"] == str(tmp_path / "report.html")
    (one,) = told["experiments"]
    assert one["name"] == "axes"
    assert {finding["verdict"] for finding in one["findings"]} == {"holds"}


def test_the_help_names_every_experiment() -> None:
    done = _run("reproduce", "--help")
    assert done.returncode == 0
    words = done.stdout.replace("│", " ").replace(",", " ").split()
    assert set(NAMES) <= set(words)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "expected an experiment of zjk, mlp"),
        (["axes"], "expected a run with the same settings, found one with others"),
    ],
)
def test_unusable_input_is_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "axes").mkdir()
    (tmp_path / "axes" / "settings.json").write_text('{"seed": 7}')
    done = _run("reproduce", *arguments, "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_an_interrupted_run_goes_on_with_the_part_that_is_missing(tmp_path: Path) -> None:
    arguments = ("reproduce", "bias", "--quick", "--out", tmp_path)
    with subprocess.Popen(_command(*arguments), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("alone-proper")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "the same command goes on" in rest
    assert "Traceback" not in rest
    parts = tmp_path / "bias" / "parts"
    kept = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert "alone-proper.json" in kept
    assert len(kept) < 6
    done = _run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert "alone-proper" not in done.stderr
    bias = _verdicts(done.stdout)  # it grows straight while the loss stands still
    assert (bias[0], bias[2]) == ("holds", "holds")
    assert len(list(parts.iterdir())) == 6
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}.items()


def test_a_training_is_followed_in_json_lines_and_in_tensorboard(tmp_path: Path) -> None:
    config, board = tmp_path / "small.toml", tmp_path / "board"
    config.write_text(CONFIG)
    done = _run("train", config, "--out", tmp_path / "run", "--tensorboard", board)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = {row["step"]: row for row in map(json.loads, lines)}
    assert list(rows) == [50, 60, 100, 120]  # within an epoch, and at its end
    assert set(rows[50]) == {"step", "loss", "train_accuracy"}
    assert rows[120]["epoch"] == 2
    assert rows[120]["test_accuracy"] > rows[60]["train_accuracy"] > 0.3
    scalars = _scalars(board)
    for name, step in (("loss", 50), ("loss", 120), ("test_accuracy", 120)):
        assert scalars[name][step] == pytest.approx(rows[step][name], rel=1e-6)


def test_an_experiment_is_followed_in_tensorboard(tmp_path: Path) -> None:
    board = tmp_path / "board"
    arguments = ("reproduce", "landscape", "--quick", "--out", tmp_path, "--json")
    done = _run(*arguments, "--tensorboard", board)
    assert done.returncode == 0, done.stderr
    assert _verdicts(done.stdout)[2] == "holds"  # activations grow with depth without BN
    results = json.loads((tmp_path / "landscape" / "results.json").read_text())["results"]
    assert set(results["bands"]) == {"plain", "batch"}
    assert list((tmp_path / "landscape").glob("*.svg"))
    steps = experiment("landscape").quick.steps
    assert _scalars(board / "landscape" / "bands-batch")["accuracy"][steps] > 0.8
