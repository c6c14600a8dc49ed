"""A baseline of a hundred images calls as few new ones outliers as it says."""

from math import comb

import numpy as np
import pytest

from service.drift.verdict import _at_least
from training.baseline.measure import measure
from training.baseline.rows import ProbeRows


def _rows(count: int, seed: int) -> ProbeRows:
    """Six layers of 16 channels that have something in common, with long tails."""
    random = np.random.default_rng(seed)
    means, squares = {}, {}
    for layer in "abcdef":
        drawn = random.standard_t(6, (count, 16)) + random.standard_t(6, (count, 1))
        means[layer] = drawn.astype(np.float32)
        squares[layer] = (drawn**2 + 1).astype(np.float32)
    return ProbeRows(means, squares, None)


@pytest.mark.parametrize("images", [100, 1000])
def test_one_new_image_in_a_hundred_is_an_outlier(images: int) -> None:
    """On average over baselines; a layer's largest distance of 100 images is beyond that of only
    99 % of others, and there are six layers."""
    shares = []
    for seed in range(10):
        baseline = measure(_rows(images, seed), dict.fromkeys("abcdef", np.ones(16, np.float32)))
        new = _rows(2000, 1000 + seed)
        joined = np.concatenate([new.means[layer] for layer in "abcdef"], axis=1)
        shares.append(baseline.outliers(joined).mean())
    assert np.mean(shares) < 0.025


def test_with_no_reference_every_number_of_outliers_is_as_likely() -> None:
    """Beta(1, 1) is uniform: Laplace's rule of succession."""
    for successes in range(12):
        assert _at_least(successes, 11, (1, 1)) == pytest.approx(1 - successes / 12, abs=1e-12)


def test_with_many_images_of_reference_it_is_the_binomial() -> None:
    rate, trials = 0.01, 300
    for successes in (1, 5, 10):
        exact = sum(
            comb(trials, k) * rate**k * (1 - rate) ** (trials - k)
            for k in range(successes, trials + 1)
        )
        found = _at_least(successes, trials, (rate * 1e6 + 1, 1e6 * (1 - rate)))
        assert found == pytest.approx(exact, rel=1e-2)
