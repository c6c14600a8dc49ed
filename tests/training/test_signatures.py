"""Signatures of known changes: the filter against linear algebra written out, and what it finds."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.drift.baseline import Baseline
from service.drift.verdict import judge
from service.drift.window import Window
from training.baseline.measure import measure
from training.baseline.rows import ProbeRows
from training.baseline.signatures import SHRINKAGE, direction, make_signatures

Rows = NDArray[np.float64]
CHANNELS, IMAGES, WINDOWS = 60, 600, 400
MOVED = np.zeros(CHANNELS)
MOVED[:6] = 0.35 * np.array([1, -1, 1, -1, 1, -1])


def _rows(count: int, seed: int, moved: float = 0.0) -> ProbeRows:
    """m and q of two layers. Images differ most by one number that all channels share, and hardly
    in what the change moves: the difference of neighbours."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, 1, (count, 1)) + random.normal(0, 0.6, (count, CHANNELS))
    m = shared + moved * MOVED
    q = m**2 + random.chisquare(20, m.shape) / 20
    cut = CHANNELS // 3
    layers = {"first": slice(0, cut), "second": slice(cut, CHANNELS)}
    return ProbeRows(
        {name: m[:, place] for name, place in layers.items()},
        {name: q[:, place] for name, place in layers.items()},
        None,
    )


def _baseline() -> Baseline:
    rows = _rows(IMAGES, 1)
    scales = {name: np.ones(values.shape[1]) for name, values in rows.means.items()}
    baseline = measure(rows, scales)
    images = np.arange(IMAGES)
    found = direction(baseline.layers, rows, images, _rows(IMAGES, 1, moved=1.0))
    made = make_signatures(baseline.layers, rows, {"brighter": found}, images)
    return replace(baseline, signatures=made)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return _baseline()


def _window(rows: ProbeRows) -> Window:
    window = Window(CHANNELS)
    window.add(*(np.concatenate(list(x.values()), axis=1) for x in (rows.means, rows.squares)))
    return window


def test_the_filter_is_the_shrunken_covariance_s_answer(baseline: Baseline) -> None:
    """Against the covariance itself, inverted in float64, for the one shrinkage that was chosen."""
    assert baseline.signatures is not None
    rows, layers = _rows(IMAGES, 1), baseline.layers
    parts: list[Rows] = []
    for statistic in ("mean", "influence"):
        for layer in layers:
            m, q = rows.means[layer.name], rows.squares[layer.name]
            values = m if statistic == "mean" else q - 2 * layer.mean * m
            spread = layer.mean_spread if statistic == "mean" else layer.var_spread
            parts.append((values - values.mean(0)) / np.sqrt(spread * len(spread)))
    x = np.concatenate(parts, axis=1)
    covariance = x.T @ x / IMAGES
    sizes = np.concatenate([np.sqrt(p.mean_spread * len(p.mean)) for p in layers])
    spreads = np.concatenate([np.sqrt(p.var_spread * len(p.mean)) for p in layers])
    # The change moves m by MOVED and ψ = q - 2·μ₀·m by (m + Δ)² - m² - 2·μ₀·Δ, on average Δ².
    mean = np.concatenate([layer.mean for layer in layers])
    shared = np.concatenate(list(rows.means.values()), axis=1).mean(0)
    influence = MOVED**2 + 2 * (shared - mean) * MOVED
    direction = np.concatenate([MOVED / sizes, influence / spreads])
    found = np.concatenate(
        [
            baseline.signatures.mean_filter[0] * sizes,
            baseline.signatures.influence_filter[0] * spreads,
        ]
    )
    errors = []
    for share in SHRINKAGE:
        added = share * np.trace(covariance) * np.eye(len(covariance))
        wanted = np.linalg.solve(covariance + added, direction)
        wanted /= wanted @ direction
        errors.append(float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    assert min(errors) < 1e-4  # float32 products
    assert found @ direction == pytest.approx(1, abs=1e-5)


def test_what_no_layer_shows_is_found_and_named(baseline: Baseline) -> None:
    """The shift is a fifth of an image's own spread: the layers' tests need many more images."""
    words, causes, by_layers = [], [], []
    for seed in range(50):
        verdict = judge(_window(_rows(20, 500 + seed, moved=1.0)), baseline, 0.01)
        words.append(verdict.word)
        causes.append(verdict.change is not None and verdict.change.change == "brighter")
        alone = judge(
            _window(_rows(20, 500 + seed, moved=1.0)), replace(baseline, signatures=None), 0.01
        )
        by_layers.append(alone.word)
    assert words.count("drift") == sum(causes) == 50
    assert by_layers.count("drift") <= 5


@pytest.mark.parametrize("size", [5, 10, 50, 300])
def test_clean_traffic_alarms_as_rarely_as_promised(baseline: Baseline, size: int) -> None:
    found = 0
    for seed in range(WINDOWS):
        found += judge(_window(_rows(size, 10_000 + seed)), baseline, 0.01).change is not None
    assert found <= 0.01 * WINDOWS + 4  # of 0.4 %, and what chance adds in 400


def test_the_amount_is_in_units_of_the_change(baseline: Baseline) -> None:
    amounts = [
        judge(_window(_rows(20_000, 7, moved)), baseline, 0.01).changes[0].amount
        for moved in (0.0, 0.5, 1.0)
    ]
    assert abs(amounts[0]) < 4 * 0.66 / np.sqrt(IMAGES)  # an image's spread is 0.66
    assert np.diff(amounts) == pytest.approx([0.5, 0.5], abs=0.05)


def test_a_change_of_another_kind_is_not_taken_for_a_known_one(baseline: Baseline) -> None:
    rows = _rows(200, 8)
    for name, values in rows.means.items():
        rows.squares[name][:] += 2 * 0.5 * values + 0.25
        values += 0.5  # all channels alike
    change = judge(_window(rows), baseline, 0.01).change
    assert change is None or not change.is_cause


def test_a_change_that_does_nothing_has_no_signature() -> None:
    """Blurring pictures of one colour, say."""
    rows, images = _rows(IMAGES, 1), np.arange(IMAGES)
    layers = measure(rows, {name: np.ones(x.shape[1]) for name, x in rows.means.items()}).layers
    some = direction(layers, rows, images, _rows(IMAGES, 1, moved=1.0))
    nothing = direction(layers, rows, images, rows)
    made = make_signatures(layers, rows, {"blurred": nothing, "brighter": some}, images)
    assert made is not None
    assert made.changes == ("brighter",)
    assert make_signatures(layers, rows, {"blurred": nothing}, images) is None
