"""The ring of windows."""

import numpy as np
import pytest

from service.drift.baseline import Baseline
from service.drift.monitor import Monitor, Sample
from tests.service.drift.normal import draw, joined, reference

STEP, STEPS = 60.0, 5


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return reference(1000)


@pytest.fixture
def monitor(baseline: Baseline) -> Monitor:
    return Monitor(baseline, input_channels=3, step_s=STEP, steps=STEPS)


def _sample(images: int, seed: int = 1) -> Sample:
    means, squares = draw(images, seed)
    pixels = np.random.default_rng(seed).random((images, 3))
    predicted = np.arange(images) % 10
    return Sample(joined(means), joined(squares), predicted, pixels, pixels**2)


def test_several_windows_are_read_at_once(monitor: Monitor) -> None:
    for minute in range(4):
        monitor.add(_sample(10, minute), now=1000 * STEP + minute * STEP)
    now = 1003 * STEP + 30
    assert monitor.read(now).layers.rows == 40
    assert monitor.read(now, seconds=STEP).layers.rows == 20  # the running minute and the last
    assert monitor.read(now, seconds=1).layers.rows == 10
    assert monitor.read(now).layers.started == 1000 * STEP
    assert monitor.read(now).layers.classes.sum() == 40
    assert monitor.read(now).input.rows == 40


def test_what_is_old_is_forgotten(monitor: Monitor) -> None:
    monitor.add(_sample(10), now=0.0)
    monitor.add(_sample(7), now=(STEPS - 1) * STEP)
    assert monitor.read((STEPS - 1) * STEP).layers.rows == 17
    assert monitor.read(STEPS * STEP).layers.rows == 7
    assert monitor.read(100 * STEP).layers.rows == 0


def test_a_reset_begins_anew(monitor: Monitor) -> None:
    monitor.add(_sample(10), now=0.0)
    monitor.drop(3)
    monitor.reset()
    assert (monitor.read(0.0).layers.rows, monitor.dropped) == (0, 0)


def test_the_first_layer_that_is_not_finite_is_named(monitor: Monitor) -> None:
    sample = _sample(10)
    sample.means[3, monitor.baseline.places["third"].start] = np.nan
    sample.means[3, monitor.baseline.places["fourth"].start] = np.inf
    monitor.add(sample, now=0.0)
    read = monitor.read(0.0).layers
    assert (read.rows, read.nonfinite) == (9, 1)
    assert monitor.first_nonfinite == "third"
    assert np.isfinite(read.mean).all()


def test_stretches_can_be_put_back(monitor: Monitor, baseline: Baseline) -> None:
    monitor.add(_sample(10, 1), now=0.0)
    monitor.add(_sample(10, 2), now=STEP)
    kept = monitor.stretches()
    monitor.add(_sample(10, 3), now=STEP)
    other = Monitor(baseline, 3, STEP, STEPS)
    other.take_over(kept)
    assert [one.layers.rows for one in other.stretches()] == [10, 10]
    assert monitor.read(STEP).layers.rows == 30


def test_what_two_have_kept_is_one_ring(monitor: Monitor, baseline: Baseline) -> None:
    monitor.add(_sample(10, 1), now=0.0)
    monitor.add(_sample(5, 2), now=2 * STEP)
    other = Monitor(baseline, 3, STEP, STEPS)
    other.add(_sample(7, 3), now=STEP)
    other.add(_sample(7, 3), now=2 * STEP)
    monitor.take_over(other.stretches(), dropped=4, first_nonfinite="second")
    assert [one.layers.rows for one in monitor.stretches()] == [10, 7, 12]
    assert [one.layers.started for one in monitor.stretches()] == [0, STEP, 2 * STEP]
    assert (monitor.dropped, monitor.first_nonfinite) == (4, "second")
