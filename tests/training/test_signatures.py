"""Signatures of known changes: the filter against linear algebra written out, and what it finds."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.drift.baseline import Baseline, LayerBaseline
from service.drift.verdict import judge
from service.drift.window import Window
from training.baseline.measure import measure
from training.baseline.rows import ProbeRows
from training.baseline.signatures import FOLDS, SHRINKAGE, direction, make_signatures

Rows = NDArray[np.float64]
CHANNELS, IMAGES, WINDOWS = 60, 600, 1000
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


def _baseline(seed: int = 1) -> Baseline:
    rows = _rows(IMAGES, seed)
    scales = {name: np.ones(values.shape[1]) for name, values in rows.means.items()}
    baseline = measure(rows, scales)
    images = np.arange(IMAGES)
    found = direction(baseline.layers, rows, images, _rows(IMAGES, seed, moved=1.0))
    made = make_signatures(baseline.layers, rows, {"brighter": found}, images)
    return replace(baseline, signatures=made)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return _baseline()


def _window(rows: ProbeRows) -> Window:
    window = Window(CHANNELS)
    window.add(*(np.concatenate(list(x.values()), axis=1) for x in (rows.means, rows.squares)))
    return window


def _features(baseline: Baseline, moved: float = 0.0) -> Rows:
    """x of m and of ψ of the reference's images, over the square root of the chance of one image in
    its layer; and then all that the covariance is about."""
    rows, parts = _rows(IMAGES, 1, moved), []
    for statistic in ("mean", "influence"):
        for layer in baseline.layers:
            m, q = rows.means[layer.name], rows.squares[layer.name]
            values = m - layer.mean
            if statistic == "influence":
                values = q - 2 * layer.mean * m - (layer.var - layer.mean**2)
            parts.append(values / _sizes(layer, statistic))
    return np.concatenate(parts, axis=1)


def _sizes(layer: LayerBaseline, statistic: str) -> Rows:
    spread = layer.mean_spread if statistic == "mean" else layer.var_spread
    found: Rows = np.sqrt((spread + 0.01 * np.median(spread)) * len(spread))
    return found


def _filter(x: Rows, direction: Rows, share: float) -> Rows:
    """(Σ + λ)⁻¹δ with the covariance written out, and the answer 1 to δ."""
    covariance = x.T @ x / len(x)
    added = share * np.trace(covariance) * np.eye(len(covariance))
    found: Rows = np.linalg.solve(covariance + added, direction)
    return found / (found @ direction)


def test_the_filter_is_the_one_that_cross_validation_finds_best(baseline: Baseline) -> None:
    """Against the covariance itself, in float64, and folds one after another."""
    x, made = _features(baseline), baseline.signatures
    assert made is not None
    direction = (_features(baseline, moved=1.0) - x).mean(axis=0)
    amounts = {}
    for share in SHRINKAGE:
        amounts[share] = np.empty(IMAGES)
        for fold in range(FOLDS):
            own = np.arange(IMAGES) % FOLDS == fold
            amounts[share][own] = x[own] @ _filter(x[~own], direction, share)
    spreads = {share: np.sqrt((found**2).mean()) for share, found in amounts.items()}
    best = min(spreads, key=lambda share: spreads[share])
    assert made.spread[0] == pytest.approx(spreads[best], rel=1e-4)  # float32 products
    assert sorted(spreads.values())[1] > 1.001 * spreads[best]  # so that the choice matters
    sizes = [_sizes(x, kind) for kind in ("mean", "influence") for x in baseline.layers]
    found = np.concatenate([made.mean_filter[0], made.influence_filter[0]])
    found = found * np.concatenate(sizes)
    wanted = _filter(x, direction, best)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    standard = amounts[best] / spreads[best]
    assert made.skewness[0] == pytest.approx((standard**3).mean(), abs=1e-3)
    assert made.kurtosis[0] == pytest.approx((standard**4).mean() - 3, abs=1e-3)


def test_images_of_a_group_are_never_on_both_sides_of_a_fold() -> None:
    """Each image five times: as if they were others, a filter would have seen what it is tried on.
    The spread must be that of a filter that has not."""
    images = np.repeat(np.arange(120), 5)
    once = _rows(120, 1)
    rows, moved = (
        ProbeRows(
            {name: x[images] for name, x in one.means.items()},
            {name: x[images] for name, x in one.squares.items()},
            None,
        )
        for one in (once, _rows(120, 1, moved=1.0))
    )
    layers = measure(rows, {name: np.ones(x.shape[1]) for name, x in rows.means.items()}).layers
    found = {"brighter": direction(layers, rows, np.arange(600), moved)}
    known, unknown = (make_signatures(layers, rows, found, g) for g in (images, np.arange(600)))
    assert known is not None
    assert unknown is not None
    assert known.spread[0] > 1.3 * unknown.spread[0]


@pytest.mark.parametrize("count", [4995, 4996, 4997])
def test_any_number_of_images_is_divided_into_folds(count: int) -> None:
    rows = _rows(count, 1)
    layers = _baseline().layers
    found = direction(layers, rows, np.arange(count), _rows(count, 1, moved=1.0))
    made = make_signatures(layers, rows, {"brighter": found}, np.arange(count))
    assert made is not None
    assert 0.3 < made.spread[0] < 1


def test_images_that_vary_by_the_day_have_a_floor_of_it() -> None:
    """Blocks of a hundred that are moved by a half, one way and the other."""
    days = [_rows(100, day, moved=0.5 * (-1) ** day) for day in range(10)]
    rows = ProbeRows(
        {name: np.concatenate([day.means[name] for day in days]) for name in days[0].means},
        {name: np.concatenate([day.squares[name] for day in days]) for name in days[0].squares},
        None,
    )
    layers = measure(rows, {name: np.ones(x.shape[1]) for name, x in rows.means.items()}).layers
    found = {
        "brighter": direction(
            _baseline().layers, _rows(IMAGES, 1), np.arange(IMAGES), _rows(IMAGES, 1, 1.0)
        )
    }
    made = make_signatures(layers, rows, found, np.arange(1000))
    assert made is not None
    assert 0.3 < made.floor[0] < 0.7


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


@pytest.fixture(scope="module")
def baselines() -> list[Baseline]:
    """Of other images each: what a reference happens to be moves all windows alike."""
    return [_baseline(seed) for seed in range(50, 70)]


@pytest.mark.parametrize("size", [5, 10, 50, 300])
def test_clean_traffic_alarms_as_rarely_as_promised(baselines: list[Baseline], size: int) -> None:
    found = 0
    for number, baseline in enumerate(baselines):
        for seed in range(WINDOWS // len(baselines)):
            rows = _rows(size, 10_000 + 100 * number + seed)
            found += judge(_window(rows), baseline, 0.01).change is not None
    assert found <= 0.004 * WINDOWS + 6  # four tenths of 1 %, and what chance adds in 1,000


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
    endless = np.full_like(some, np.inf)  # where the changed activations overflow
    for beyond in (endless, np.full_like(some, np.nan)):
        made = make_signatures(layers, rows, {"darker": beyond, "brighter": some}, images)
        assert made is not None
        assert made.changes == ("brighter",)


def test_an_image_in_which_a_silent_channel_fires_is_not_a_known_change() -> None:
    """It is like no image of the reference; but one in a hundred is the outliers' affair."""

    def with_silent(rows: ProbeRows, fires: float) -> ProbeRows:
        random = np.random.default_rng(0)
        m = random.normal(0, 1e-4, (len(rows), 1))
        m[:1] += fires
        means, squares = rows.means["second"], rows.squares["second"]
        return ProbeRows(
            {**rows.means, "second": np.concatenate([means, m], axis=1)},
            {**rows.squares, "second": np.concatenate([squares, m**2 + 0.01], axis=1)},
            None,
        )

    rows, images = with_silent(_rows(IMAGES, 1), 0), np.arange(IMAGES)
    baseline = measure(rows, {name: np.ones(x.shape[1]) for name, x in rows.means.items()})
    moved = with_silent(_rows(IMAGES, 1, moved=1.0), 0)
    moved.means["second"][:, -1] += 1e-4  # the change moves it, too
    found = {"brighter": direction(baseline.layers, rows, images, moved)}
    made = make_signatures(baseline.layers, rows, found, images)
    window = Window(CHANNELS + 1)
    seen = with_silent(_rows(100, 2), 3.0)
    window.add(*(np.concatenate(list(x.values()), axis=1) for x in (seen.means, seen.squares)))
    verdict = judge(window, replace(baseline, signatures=made), 0.01)
    assert verdict.changes
    assert verdict.change is None
