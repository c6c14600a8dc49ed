"""Mistakes in the preprocessing are named; other images are not taken for one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.drift.causes import Input, Pictures, likely_cause

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
Rows = NDArray[np.float64]


def _photographs(seed: int = 0) -> Rows:
    """Pixels from 0 to 1, [n, 3, …]: brighter in red than in blue."""
    random = np.random.default_rng(seed)
    return np.clip(random.normal(np.array([0.52, 0.45, 0.33])[:, None], 0.24, (400, 3, 64)), 0, 1)


def _input(rows: Rows) -> Input:
    return Input(rows.mean(axis=(0, 2)), rows.std(axis=(0, 2)))


def _normalized(pixels: Rows) -> Rows:
    result: Rows = (pixels - MEAN[:, None]) / STD[:, None]
    return result


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p, "normalization is missing"),
        (lambda p: 255 * p, "preprocessing is missing"),
        (lambda p: _normalized(255 * p), "not divided by 255 before normalizing"),
        (lambda p: _normalized(p / 255), "divided by 255 twice"),
        (lambda p: _normalized(_normalized(p)), "normalized twice"),
        (lambda p: _normalized(1 - p), "inverted"),
        (lambda p: 2 * p - 1, "range from -1 to 1"),
        (lambda p: _normalized(p)[:, ::-1], "BGR came where RGB"),
        (lambda p: 255 * _normalized(p), "not divided by 255"),
    ],
)
def test_a_mistake_is_named(change: object, words: str) -> None:
    assert callable(change)
    reference = _input(_normalized(_photographs()))
    live = _input(change(_photographs(1)))
    cause = likely_cause(reference, live, Pictures(MEAN, STD))
    assert cause is not None
    assert words in cause


@pytest.mark.parametrize("change", [lambda p: p, lambda p: np.clip(p + 0.08, 0, 1)])
def test_ordinary_traffic_has_no_cause(change: object) -> None:
    assert callable(change)
    reference = _input(_normalized(_photographs()))
    live = _input(_normalized(change(_photographs(1))))
    assert likely_cause(reference, live, Pictures(MEAN, STD)) is None


def test_what_no_mistake_explains_has_none() -> None:
    reference = Input(np.zeros(1), np.ones(1))
    assert likely_cause(reference, Input(np.full(1, 5.0), np.full(1, 7.0)), None) is None
    swapped = likely_cause(reference, Input(np.full(1, 255.0), np.full(1, 255.0)), None)
    assert swapped is None  # the mean should have stayed at zero


def test_without_preprocessing_a_factor_is_recognized() -> None:
    reference = Input(np.array([0.4]), np.array([0.3]))
    cause = likely_cause(reference, Input(np.array([102.0]), np.array([76.0])), None)
    assert cause is not None
    assert "255 times too large" in cause
