"""The measured baseline: its calibration holds for images that it has not seen."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.drift.baseline import Baseline
from service.drift.scores import score_layers
from service.drift.window import Window
from tests.graphs import Builder
from training.baseline.calibrate import LEVEL
from training.baseline.measure import measure
from training.baseline.rows import ProbeRows, probe_rows
from training.errors import UnusableInput
from training.fold import fold
from training.probe import add_probes

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
    few, many = (_baseline(images).layers[0].calibration for images in (100, 1500))
    assert [size for size, _, _ in few] == [5, 10, 20]
    assert [size for size, _, _ in many] == [5, 10, 20, 50, 100, 300]
    assert all(growth >= 1 for _, *both in few for growth in both)


def test_the_growth_between_the_sizes_is_linear_in_one_over_n_and_constant_beyond() -> None:
    layer = replace(_baseline(100).layers[0], calibration=((5, 3.0, 2.0), (10, 1.0, 1.5)))
    assert layer.growth(5) == (3.0, 2.0)
    assert layer.growth(10) == layer.growth(1000) == (1.0, 1.5)
    assert layer.growth(7) == pytest.approx((1 + 2 * (3 / 7), 1.5 + 0.5 * (3 / 7)), abs=1e-12)


def test_a_layer_whose_channels_hardly_ever_fire_does_not_make_another_blind() -> None:
    """Every layer's thresholds grow by themselves."""
    random, (rare, rare_squares) = np.random.default_rng(3), _rows(1500, 1)
    plain = random.normal(0, 1, (1500, CHANNELS))
    squares = plain**2 + random.chisquare(20, plain.shape) / 20
    rows = ProbeRows({"plain": plain, "rare": rare}, {"plain": squares, "rare": rare_squares}, None)
    first, second = measure(rows, dict.fromkeys(rows.means, np.ones(CHANNELS))).layers
    assert max(first.growth(10)) < 2 < max(second.growth(10))


def test_parts_of_one_picture_are_not_taken_for_different_ones() -> None:
    """Forty pictures, thirty parts of each, that are nearly the same: parts of forty other pictures
    are other traffic than parts of these by chance alone, and the baseline knows it."""

    def parts(random: np.random.Generator) -> tuple[Rows, Rows]:
        m = random.normal(0, 1, (40, 1, CHANNELS)) + random.normal(0, 0.1, (40, 30, CHANNELS))
        return m.reshape(-1, CHANNELS), (m**2).reshape(-1, CHANNELS)

    groups, scales = np.repeat(np.arange(40), 30), {"layer": np.ones(CHANNELS)}
    found = {"known": 0, "unknown": 0}
    for seed in range(12):
        m, q = parts(np.random.default_rng(seed))
        rows, window = ProbeRows({"layer": m}, {"layer": q}, None), Window(CHANNELS)
        window.add(*parts(np.random.default_rng(100 + seed)))
        known, unknown = measure(rows, scales, groups), measure(rows, scales)
        assert (known.images, unknown.images) == (40, 1200)
        found["known"] += score_layers(window, known, LEVEL)[0].significant
        found["unknown"] += score_layers(window, unknown, LEVEL)[0].significant
    assert found["known"] <= 2
    assert found["unknown"] == 12  # so that this test can fail


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(50) // 2, "expected at least 30 groups of images, got 25"),
        (np.arange(49), "expected 50 groups, one an image, got 49"),
    ],
)
def test_groups_that_say_too_little_are_refused(groups: NDArray[np.int64], message: str) -> None:
    m, q = _rows(50, 1)
    rows = ProbeRows({"layer": m}, {"layer": q}, None)
    with pytest.raises(UnusableInput, match=message):
        measure(rows, {"layer": np.ones(CHANNELS)}, groups)


def test_a_few_images_are_refused() -> None:
    with pytest.raises(UnusableInput, match="expected at least 30 images, got 29"):
        _baseline(29)


@pytest.mark.parametrize("count", [5, 8, 20])
def test_a_fixed_batch_leaves_no_image_out(count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 3, 6, 6)).astype(np.float32)
    found = []
    for batch in ("N", 8):
        builder = Builder(0)
        weight = builder.weight("w", 4, 3, 3, 3)
        made = builder.op("Conv", ["image", weight], "c")
        builder.op("Relu", [builder.normalize(made, "layer", 4)], "out")
        folded = fold(builder.model({"image": [batch, 3, 6, 6]}, ["out"]))
        probed = add_probes(folded.model, folded.report)
        found.append(probe_rows(probed.model, probed.outputs, {"image": rows}))
    for free, fixed in zip(found[0].means.values(), found[1].means.values(), strict=True):
        assert len(fixed) == count
        np.testing.assert_allclose(fixed, free, atol=1e-5 * np.abs(free).max())
