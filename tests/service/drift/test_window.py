"""Windows: merging in any order gives what all images together give."""

import numpy as np
import pytest

from service.drift.window import Window


def _window(rows: np.ndarray, outliers: int = 0) -> Window:
    window = Window(rows.shape[1])
    window.add(rows, rows**2)
    window.outliers = outliers
    return window


def test_parts_of_any_size_merge_to_the_whole() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(1e4, 1, (500, 7))
    whole, merged = _window(rows), Window(7)
    for part in np.split(rows, [1, 2, 40, 300, 300]):
        merged.merge(_window(part, outliers=len(part)))
    assert merged.rows == merged.outliers == 500
    np.testing.assert_allclose(merged.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(merged.mean_square, (rows**2).mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)


def test_float32_rows_are_summed_in_float64() -> None:
    rows = np.full((100_000, 1), 16_777_217.0 / 16, np.float32)
    window = Window(1)
    window.add(rows, rows)
    assert window.mean[0] == float(rows[0, 0])


def test_classes_are_counted() -> None:
    first, second = Window(1), Window(1)
    first.count_classes(np.array([0, 2, 2]), 3)
    second.merge(first)
    second.count_classes(np.array([1]), 3)
    assert second.classes.tolist() == [1, 1, 2]
    assert first.classes.tolist() == [1, 0, 2]


def test_nothing_changes_nothing() -> None:
    window = _window(np.ones((3, 2)))
    window.merge(Window(2))
    window.add(np.empty((0, 2)), np.empty((0, 2)))
    assert (window.rows, window.mean.tolist()) == (3, [1.0, 1.0])
    assert window.rows == pytest.approx(3)
