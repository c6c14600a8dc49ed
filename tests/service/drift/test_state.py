"""What was seen outlives the process: whole, exact, and never in the way of a start."""

import logging
from pathlib import Path

import numpy as np
import pytest

from service.drift.baseline import Baseline
from service.drift.monitor import Monitor, Sample
from service.drift.state import Key, StateFolder
from tests.service.drift.normal import draw, joined, reference

KEY = Key("digits", 3, "ab" * 32)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return reference(1000)


def _monitor(baseline: Baseline, seed: int | None = None, step_s: float = 60.0) -> Monitor:
    monitor = Monitor(baseline, 3, step_s, 5)
    if seed is not None:
        means, squares = draw(12, seed)
        pixels = np.random.default_rng(seed).random((12, 3))
        sample = Sample(joined(means), joined(squares), np.arange(12) % 10, pixels, pixels**2)
        for minute in range(3):
            monitor.add(sample, now=60.0 * minute)
        monitor.drop(seed)
        monitor.first_nonfinite = "second"
    return monitor


def test_what_is_restored_is_the_same_bits(baseline: Baseline, tmp_path: Path) -> None:
    before, folder = _monitor(baseline, 1), StateFolder(tmp_path / "made" / "here")
    folder.save(KEY, before)
    after = _monitor(baseline)
    folder.restore(KEY, after)
    for one, other in zip(before.stretches(), after.stretches(), strict=True):
        for window, same in ((one.layers, other.layers), (one.input, other.input)):
            assert window.mean.tobytes() == same.mean.tobytes()
            assert window.mean_square.tobytes() == same.mean_square.tobytes()
            assert (window.rows, window.started) == (same.rows, same.started)
        assert one.layers.classes.tolist() == other.layers.classes.tolist()
    assert (after.dropped, after.first_nonfinite) == (1, "second")
    assert [file.name for file in (tmp_path / "made" / "here" / "digits").iterdir()] == ["3.0.json"]


def test_each_worker_has_its_own_and_the_first_takes_over_from_those_that_are_gone(
    baseline: Baseline, tmp_path: Path
) -> None:
    for worker in range(4):
        StateFolder(tmp_path, worker, 4).save(KEY, _monitor(baseline, worker + 1))
    found = []
    for worker in range(2):
        monitor = _monitor(baseline)
        StateFolder(tmp_path, worker, 2).restore(KEY, monitor)
        found.append(sum(one.layers.rows for one in monitor.stretches()))
    assert found == [3 * 36, 36]
    again = _monitor(baseline)
    StateFolder(tmp_path, 0, 2).restore(KEY, again)  # as when the first worker is replaced
    assert sum(one.layers.rows for one in again.stretches()) == 36


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b'{"format": 1}',
        lambda data: data.replace(b'"format":1', b'"format":2'),
        lambda data: data.replace(b'"channels":3', b'"channels":4'),
        lambda data: data.replace(b"abab", b"abac"),
        lambda data: data.replace(b'"second"', b'"tenth"'),
        lambda data: data.replace(b'"mean":"', b'"mean":"AAAAAAAA+H8='),
    ],
)
def test_a_damaged_file_is_one_line_and_a_fresh_start(
    baseline: Baseline, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    assert callable(damage)
    folder = StateFolder(tmp_path)
    folder.save(KEY, _monitor(baseline, 1))
    file = tmp_path / "digits" / "3.0.json"
    file.write_bytes(damage(file.read_bytes()))
    monitor = _monitor(baseline)
    with caplog.at_level(logging.INFO):
        folder.restore(KEY, monitor)
    assert (monitor.stretches(), monitor.dropped) == ([], 0)
    (line,) = caplog.messages
    assert line.startswith("drift: digits/3.0.json cannot be used, and begins anew: ")


def test_other_steps_begin_anew(baseline: Baseline, tmp_path: Path) -> None:
    StateFolder(tmp_path).save(KEY, _monitor(baseline, 1))
    monitor = _monitor(baseline, step_s=30.0)
    StateFolder(tmp_path).restore(KEY, monitor)
    assert monitor.stretches() == []


def test_a_folder_that_cannot_be_written_leaves_nothing(baseline: Baseline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        StateFolder(tmp_path / "file").save(KEY, _monitor(baseline, 1))
