"""The measured baseline: its calibration holds for images that it has not seen."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.drift.baseline import Baseline
from service.drift.scores import score_layers
from service.drift.window import Window
from training.baseline.measure import LEVEL, measure
from training.baseline.rows import ProbeRows
from training.errors import UnusableInput

CHANNELS, WINDOWS = 300, 400
Rows = NDArray[np.float64]


def _rows(images: int, seed: int) -> tuple[Rows, Rows]:
    """m and q of channels that hardly ever fire, as in the depth of real networks: what a thousand
    images have not shown, the next hundred may."""
    random = np.random.default_rng(seed)
    rare = random.random((images, CHANNELS)) < 1 / 1500
    m = random.normal(0, 1, (images, CHANNELS)) + 25 * rare
    return m, m**2 + random.chisquare(20, (images, CHANNELS)) / 20


def _baseline(images: int = 1500) -> Baseline:
    means, squares = _rows(images, 1)
    rows = ProbeRows({"layer": means}, {"layer": squares}, None)
    return measure(rows, {"layer": np.ones(CHANNELS)})


@pytest.mark.parametrize("size", [5, 10, 30, 100, 300])
def test_windows_of_other_images_are_beyond_the_threshold_as_rarely_as_promised(size: int) -> None:
    baseline, found = _baseline(), 0
    for seed in range(WINDOWS):
        window = Window(CHANNELS)
        window.add(*_rows(size, 1000 + seed))
        found += score_layers(window, baseline, LEVEL)[0].significant
    assert found <= 0.02 * WINDOWS + 4  # nominal 1 %; 4 more by chance in 400


def test_the_sizes_that_are_calibrated_fit_into_half_of_the_images() -> None:
    assert [size for size, _ in _baseline(100).calibration] == [5, 10, 20]
    assert [size for size, _ in _baseline(1500).calibration] == [5, 10, 20, 50, 100, 300]
    assert all(growth >= 1 for _, growth in _baseline(100).calibration)


def test_a_few_images_are_refused() -> None:
    with pytest.raises(UnusableInput, match="expected at least 30 images, got 29"):
        _baseline(29)
