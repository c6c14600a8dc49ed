"""The scores of known changes, against their formulas in float64 and drawn quantiles."""

from dataclasses import replace

import numpy as np
import pytest

from service.drift import changes
from service.drift.baseline import Baseline
from service.drift.changes import ChangeScore, Moved, Signatures, score_changes
from service.drift.scores import LayerScore, moved
from service.drift.verdict import Verdict
from tests.service.drift.normal import LAYERS, draw, reference, window

C = 12
ENDLESS = 10**12  # images of a reference that leaves no chance of its own
RANDOM = np.random.default_rng(0)
FIRST, SECOND = RANDOM.normal(size=(2, 2, C))
WEIGHTS = RANDOM.uniform(0.5, 2, (2, C))


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return reference()


def _signatures(names: tuple[str, ...] = ("brighter", "swapped")) -> Signatures:
    """Directions at random; the filters are the directions, weighted, with the answer 1."""
    directions = np.stack([FIRST, SECOND])[: len(names)]
    filters = directions * WEIGHTS
    filters /= (filters * directions).sum(axis=(1, 2), keepdims=True)
    parts = (filters[:, 0], filters[:, 1], directions[:, 0], directions[:, 1])
    flat = np.zeros(len(names))
    spread, floor = np.full(len(names), 0.5), np.full(len(names), 0.25)
    return Signatures(names, *parts, spread, flat, flat, floor)


def _score(moved: np.ndarray, rows: int = 10, chance: float = 0.0) -> tuple[ChangeScore, ...]:
    away = Moved(moved[0], moved[1], WEIGHTS, chance)
    return score_changes(_signatures(), away, (rows, ENDLESS), 0.01)


def test_what_moved_along_a_change_is_explained_by_it() -> None:
    found, other = _score(0.7 * FIRST)
    assert found.amount == pytest.approx(0.7, abs=1e-12)
    assert found.significance == pytest.approx(0.7 / (0.5 * np.sqrt(0.1 + 1 / ENDLESS)), abs=1e-9)
    assert found.explained == pytest.approx(1, abs=1e-12)
    assert found.alarm
    assert found.is_cause
    cosine = (FIRST * WEIGHTS * SECOND).sum() / np.sqrt(
        (FIRST**2 * WEIGHTS).sum() * (SECOND**2 * WEIGHTS).sum()
    )
    assert other.explained == pytest.approx(max(cosine, 0) ** 2, abs=1e-12)


def test_what_moved_against_a_change_is_not_explained_by_it() -> None:
    found, _ = _score(-0.7 * FIRST)
    assert found.amount == pytest.approx(-0.7, abs=1e-12)
    assert found.explained == 0
    assert not found.alarm


def test_chance_s_own_part_is_not_to_be_explained() -> None:
    """Half of what is seen is chance, so that half a cosine is all that there is to explain."""
    along = FIRST / np.sqrt((FIRST**2 * WEIGHTS).sum())
    across = SECOND - along * (SECOND * WEIGHTS * along).sum()
    across /= np.sqrt((across**2 * WEIGHTS).sum())
    found, _ = _score(along + across, chance=1.0)
    assert found.explained == pytest.approx(1, abs=1e-9)
    found, _ = _score(along + across, chance=0.0)
    assert found.explained == pytest.approx(0.5, abs=1e-9)


def test_a_small_amount_is_no_alarm_however_certain() -> None:
    found, _ = _score(0.2 * FIRST, rows=100_000)
    assert found.significance > found.threshold
    assert not found.alarm


@pytest.mark.parametrize(("amount", "named"), [(0.4, False), (1.0, True), (3.0, False)])
def test_a_mistake_is_there_as_a_whole_or_not(amount: float, named: bool) -> None:
    _, swapped = _score(amount * SECOND, rows=100)
    assert swapped.alarm
    assert swapped.is_cause is named
    assert _score(amount * FIRST, rows=100)[0].is_cause  # light is a matter of degree


@pytest.mark.parametrize("rows", [5, 10, 30])
@pytest.mark.parametrize("seen", [100, ENDLESS])
def test_the_threshold_is_what_means_of_skewed_images_stay_below(rows: int, seen: int) -> None:
    """Exponential images: skewness 2, excess kurtosis 6; their means are gamma variables."""
    signatures = replace(_signatures(), skewness=np.full(2, 2.0), kurtosis=np.full(2, 6.0))
    away = Moved(np.zeros(C), np.zeros(C), WEIGHTS, 0.0)
    threshold = score_changes(signatures, away, (rows, seen), 0.01)[0].threshold
    random = np.random.default_rng(1)
    drawn = random.gamma(rows, 1 / rows, 4_000_000)
    drawn -= 1 if seen == ENDLESS else random.gamma(seen, 1 / seen, len(drawn))
    beyond = np.mean(drawn / np.sqrt(1 / rows + 1 / seen) > threshold)
    assert beyond == pytest.approx(0.005, rel=0.1)  # half of 1 %: there are two changes
    assert changes._threshold(0.005, 0.0, 0.0) == pytest.approx(2.5758293, abs=1e-6)


def test_more_skewness_never_lowers_the_threshold() -> None:
    """The series does, beyond a skewness of 1.9 and the kurtosis that goes with it."""
    found = [changes._threshold(0.001, skew, skew**2) for skew in np.linspace(0, 5, 51)]
    assert (np.diff(found) >= 0).all()


def test_what_moved_is_its_formula(baseline: Baseline) -> None:
    """x = m - μ₀ and ψ - ψ₀ with ψ = q - 2·μ₀·m, weighted so that chance has f in each layer."""
    means, squares = draw(25, seed=5, shift={"second": 0.4})
    found = moved(window(means, squares, slice(None)), baseline, 0.04)
    assert found.chance == pytest.approx(2 * 0.04 * len(LAYERS), abs=1e-12)
    for layer in baseline.layers:
        place, m, q = baseline.places[layer.name], means[layer.name], squares[layer.name]
        influence = q - 2 * layer.mean * m
        assert layer.used.all()
        np.testing.assert_allclose(found.mean[place], (m - layer.mean).mean(0), atol=1e-12)
        reference = layer.var - layer.mean**2
        np.testing.assert_allclose(found.influence[place], influence.mean(0) - reference, atol=1e-9)
        weights = 1 / (np.stack([layer.mean_spread, layer.var_spread]) * len(layer.mean))
        np.testing.assert_allclose(found.weights[:, place], weights, rtol=1e-12)


def test_chance_alone_has_the_length_that_is_expected(baseline: Baseline) -> None:
    lengths = []
    for seed in range(200):
        means, squares = draw(20, seed=100 + seed)
        found = moved(window(means, squares, slice(None)), baseline, 1 / 20 + 1 / baseline.images)
        away = found.weights * np.stack([found.mean, found.influence]) ** 2
        lengths.append(away.sum() / found.chance)
    assert np.mean(lengths) == pytest.approx(1, abs=0.15)


def _named(visible: bool, *changes: tuple[str, float, float]) -> str | None:
    """Of changes (name, significance, explained), which one is named."""
    layer = LayerScore("first", 9.0, 9.0, 9.0 if visible else 0.0, 0, 1, 1, 1, 1, np.zeros(1))
    scores = tuple(ChangeScore(name, 1.0, 0.25, z, 3.0, share) for name, z, share in changes)
    verdict = Verdict("drift", "", (layer,), changes=scores)
    return None if verdict.change is None else verdict.change.change


def test_the_change_that_explains_most_is_named_where_layers_show_it() -> None:
    both = ("darker", 9.0, 1.1), ("blurred", 6.0, 1.3)  # chance may bring both above 1
    assert _named(True, *both) == "blurred"
    assert _named(False, *both) == "darker"  # what is explained is then mostly chance
    assert _named(True, ("noisy", 2.0, 1.0)) is None
