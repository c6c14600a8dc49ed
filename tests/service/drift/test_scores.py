"""The scores: their formulas, their false alarms, and what they find."""

import numpy as np
import pytest

from service.drift.baseline import Baseline
from service.drift.scores import score_layers
from service.drift.verdict import judge
from tests.service.drift.normal import LAYERS, draw, joined, reference, window

LEVEL = 0.01


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return reference()


def test_a_score_is_its_formula(baseline: Baseline) -> None:
    means, squares = draw(40, 5, {"second": 0.4})
    score = score_layers(window(means, squares, slice(None)), baseline, LEVEL)[1]
    layer, n = baseline.layers[1], 40
    m, q = means["second"].mean(axis=0), squares["second"].mean(axis=0)
    f = 1 / n + 1 / 4000
    away, log = m - layer.mean, np.log((q - m**2) / layer.var)
    noise = layer.var_spread / layer.var**2 * f
    assert score.mean_significance == pytest.approx(
        np.mean(away**2 / (layer.mean_spread * f)), rel=1e-12
    )
    assert score.variance_significance == pytest.approx(np.mean(log**2 / noise), rel=1e-9)
    assert score.mean_shift == pytest.approx(
        np.sqrt(np.mean(away**2 / layer.var - layer.mean_spread / layer.var * f)), rel=1e-12
    )
    assert score.variance_shift == pytest.approx(
        np.sqrt(max(0, np.mean(log**2 - noise))), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("rows", [5, 10, 30, 100, 300])
def test_where_nothing_moved_alarms_are_as_rare_as_they_should_be(
    baseline: Baseline, rows: int
) -> None:
    means, squares = draw(4000, 1)
    random = np.random.default_rng(rows)
    windows = [window(means, squares, random.integers(0, 4000, rows)) for _ in range(400)]
    alarms = sum(judge(one, baseline, LEVEL).word == "drift" for one in windows)
    assert alarms <= 0.02 * 400 + 3  # nominal 1 %; 3 more by chance in 400


def test_an_effect_is_measured_whatever_the_number_of_images(baseline: Baseline) -> None:
    means, squares = draw(2000, 2, dict.fromkeys(LAYERS, 0.5))
    for rows in (20, 200, 2000):
        found = score_layers(window(means, squares, slice(rows)), baseline, LEVEL)
        shifts = [score.mean_shift for score in found]
        assert shifts == pytest.approx([0.5] * len(LAYERS), abs=0.9 / np.sqrt(rows))


def test_a_gain_is_a_shift_of_the_variance(baseline: Baseline) -> None:
    means, squares = draw(2000, 3, gain=1.2)
    found = score_layers(window(means, squares, slice(None)), baseline, LEVEL)
    for score in found:
        assert score.variance_shift == pytest.approx(2 * np.log(1.2), rel=0.1)
        assert score.mean_shift < 0.06


@pytest.mark.parametrize(
    ("moved", "gain", "words"),
    [
        ({"first": 0.8, "third": 2.0}, 1.0, "light, colour, sensor or preprocessing"),
        ({}, 1.4, "contrast, blur or noise"),
        ({"third": 0.8}, 1.0, "texture or content"),
        ({"fourth": 0.6}, 1.0, "another mix of classes"),
    ],
)
def test_the_depth_of_a_shift_is_put_into_words(
    baseline: Baseline, moved: dict[str, float], gain: float, words: str
) -> None:
    verdict = judge(window(*draw(100, 4, moved, gain), slice(None)), baseline, LEVEL)
    assert verdict.word == "drift"
    assert words in verdict.diagnosis


def test_a_few_images_are_not_judged(baseline: Baseline) -> None:
    verdict = judge(window(*draw(4, 4), slice(None)), baseline, LEVEL)
    assert (verdict.word, verdict.layers) == ("insufficient", ())
    assert verdict.diagnosis == "1 more images are needed for a verdict"


def test_a_small_effect_that_is_no_chance_is_watched(baseline: Baseline) -> None:
    means, squares = draw(4000, 6, dict.fromkeys(LAYERS, 0.04))
    verdict = judge(window(means, squares, slice(None)), baseline, LEVEL)
    assert verdict.word == "watch"


def test_a_twentieth_of_other_images_is_seen_by_their_number(baseline: Baseline) -> None:
    """Other in both directions, so that no mean moves."""
    means, squares = draw(600, 7)
    for name in LAYERS:
        means[name][:15] += 3
        means[name][15:30] -= 3
    made = window(means, squares, slice(None))
    made.outliers = int(baseline.outliers(joined(means)).sum())
    assert 25 <= made.outliers <= 50
    clean = window(*draw(600, 7), slice(None))
    assert judge(made, baseline, LEVEL).outliers_alarm
    assert not judge(clean, baseline, LEVEL).outliers_alarm
