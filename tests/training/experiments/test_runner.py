"""The frame: what is kept, what is refused, and the report."""

import json
import re
from pathlib import Path
from threading import Event

import pytest
import torch

from tests.training.experiments.test_quick import Silent
from training.errors import Interrupted, UnusableInput
from training.experiments import experiment
from training.experiments.experiment import Results
from training.experiments.lab import Lab, Part
from training.experiments.runner import Options, reproduce
from training.metrics import MetricsWriter


def _lab(folder: Path, stop: Event | None = None, seed: int = 0) -> Lab:
    return Lab(folder, {"seed": seed}, progress=Silent(), stop=stop or Event())


def _draws(part: Part) -> Results:
    for step in (1, 2, 3):
        part.log(step, {"loss": 1 / step})
        part.advance(step, 3)
    return {"drawn": torch.rand(3, dtype=torch.float64).tolist(), "not_finite": float("nan")}


def test_a_finished_part_is_kept_and_each_part_is_seeded_by_itself(tmp_path: Path) -> None:
    first = _lab(tmp_path).part("a", _draws, seed=7)
    assert _lab(tmp_path).part("a", lambda part: {}, seed=7) == first
    assert _lab(tmp_path).part("b", _draws, seed=7)["drawn"] == first["drawn"]
    assert _lab(tmp_path).part("c", _draws, seed=8)["drawn"] != first["drawn"]
    assert first["not_finite"] is None
    lines = (tmp_path / "metrics" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_an_interrupted_part_is_not_kept_and_is_made_anew(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Interrupted, match="stopped in a after step 1 of 3"):
        _lab(tmp_path, stop).part("a", _draws, seed=7)
    assert not (tmp_path / "parts" / "a.json").exists()
    assert len(_lab(tmp_path).part("a", _draws, seed=7)["drawn"]) == 3


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    _lab(tmp_path, seed=0)
    with pytest.raises(UnusableInput, match="expected a run with the same settings"):
        _lab(tmp_path, seed=1)


def test_a_foreign_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="expected an experiment of zjk, mlp"):
        experiment("nothing")


def test_the_report_needs_nothing_else_and_is_the_same_when_written_again(tmp_path: Path) -> None:
    options = Options(tmp_path, quick=True)
    reproduce(["axes"], options, Silent())
    first = (tmp_path / "report.html").read_bytes()
    reproduce(["axes"], options, Silent())
    assert (tmp_path / "report.html").read_bytes() == first
    text = first.decode()
    assert "data:image/svg+xml;base64," in text
    assert not re.search(r"(src|href)=.(https?:|//)", text)
    assert "prefers-color-scheme: dark" in text
    assert "axes/worked.svg" in (tmp_path / "report.md").read_text()


def test_metrics_go_on_after_the_kept_step_and_reach_tensorboard(tmp_path: Path) -> None:
    file, board = tmp_path / "metrics.jsonl", tmp_path / "board"
    with MetricsWriter(file) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"loss": 0.5})
    file.write_text(file.read_text() + '{"step": 4, "lo')  # cut short by a crash
    with MetricsWriter(file, board, after_step=2) as writer:
        writer.write(3, {"loss": float("inf"), "accuracy": 0.25})
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[:2] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]
    assert rows[2:] == [{"step": 3, "loss": None, "accuracy": 0.25}]
    assert any(path.stat().st_size > 0 for path in board.glob("events.out.tfevents.*"))
