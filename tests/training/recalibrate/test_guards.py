"""The statistics behind the refusals, where the answer is known."""

import numpy as np
import pytest

from service.drift.changes import ChangeScore
from service.drift.scores import LayerScore
from service.drift.verdict import Verdict
from training.recalibrate.guards import label_shift, only_late_layers
from training.recalibrate.mixture import two_components


@pytest.mark.parametrize(("share", "apart"), [(0.5, 6.0), (0.2, 8.0), (0.05, 10.0)])
def test_two_normal_populations_are_found(share: float, apart: float) -> None:
    """Ashman's D of two of the same deviation σ is the difference of their means over σ."""
    random, few = np.random.default_rng(3), int(share * 2000)
    values = np.concatenate([random.normal(apart, 1, few), random.normal(0, 1, 2000 - few)])
    found = two_components(random.permutation(values))
    assert found.share == pytest.approx(share, abs=0.01)
    assert found.apart == pytest.approx(apart, rel=0.05)
    assert found.gain > 0.12


@pytest.mark.parametrize("count", [64, 500])
def test_one_normal_population_gains_little(count: int) -> None:
    random = np.random.default_rng(4)
    gains = [two_components(random.normal(2, 3, count)).gain for _ in range(20)]
    assert np.quantile(gains, 0.95) < 0.12


def test_one_value_is_no_mixture() -> None:
    assert two_components(np.ones(64)).gain < 0.12


def test_the_same_mix_is_rarely_called_another_one() -> None:
    """Also where most of a thousand classes have no image."""
    random = np.random.default_rng(5)
    for mix, images, known in (
        (np.full(10, 0.1), 64, 5000),
        (random.dirichlet(np.ones(10)), 500, 500),
        (random.dirichlet(np.full(1000, 0.1)), 64, 100),
    ):
        found = [
            label_shift(
                random.choice(len(mix), images, p=mix),
                np.bincount(random.choice(len(mix), known, p=mix), minlength=len(mix)).tolist(),
                None,
            )
            for _ in range(15)
        ]
        assert sum(reason is not None for reason in found) <= 1


def test_half_of_the_classes_is_another_mix() -> None:
    predicted = np.arange(64) % 5
    reason = label_shift(predicted, [100] * 10, list("abcdefghij"))
    assert reason is not None
    assert "distance 0.50" in reason
    assert "class 'a' has 20% where the baseline has 10%" in reason


@pytest.mark.parametrize(("explained", "refused"), [(0.9, False), (0.2, True)])
def test_a_known_change_of_pictures_is_no_new_content(explained: float, refused: bool) -> None:
    """Though only the last layers show it by themselves."""
    layers = tuple(
        LayerScore(name, shift, 0, 10 * shift, 0, 1, 1, 0.1, 0.1, np.zeros(1))
        for name, shift in (("first", 0.0), ("second", 0.0), ("third", 0.0), ("last", 1.0))
    )
    blurred = ChangeScore("blurred", 1.0, 0.25, 9.0, 3.0, explained)
    verdict = Verdict("drift", "", layers, changes=(blurred,))
    assert (only_late_layers(verdict) is not None) == refused
