"""Images whose layers are normal and correlated: what the scores assume, drawn from the formula."""

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import Baseline
from service.drift.window import Window
from training.baseline.measure import measure
from training.baseline.rows import ProbeRows

Rows = dict[str, NDArray[np.float64]]
LAYERS = {"first": 8, "second": 16, "third": 12, "fourth": 10}
PIXELS = 36


def draw(
    images: int, seed: int, shift: dict[str, float] | None = None, gain: float = 1.0
) -> tuple[Rows, Rows]:
    """m and q of every layer: pixels of one image share a part, and so do channels. `shift` moves a
    layer's activations, in their standard deviations; `gain` widens all about their mean."""
    random = np.random.default_rng(seed)
    means, squares = Rows(), Rows()
    for name, channels in LAYERS.items():
        image = random.normal(0, 0.5, (images, channels)) + random.normal(0, 0.5, (images, 1))
        pixels = image[:, :, None] + random.normal(0, 0.7, (images, channels, PIXELS))
        y = 0.3 + gain * pixels + (shift or {}).get(name, 0.0) * np.sqrt(0.99)
        means[name], squares[name] = y.mean(axis=2), (y**2).mean(axis=2)
    return means, squares


def reference(images: int = 4000, seed: int = 0) -> Baseline:
    """The baseline of unshifted images."""
    means, squares = draw(images, seed)
    predicted = np.random.default_rng(seed).integers(0, 10, images)
    scales = {name: np.ones(channels) for name, channels in LAYERS.items()}
    return measure(ProbeRows(means, squares, predicted, 10), scales)


def joined(rows: Rows) -> NDArray[np.float64]:
    """All layers' channels, one layer after another."""
    return np.concatenate([rows[name] for name in LAYERS], axis=1)


def window(means: Rows, squares: Rows, chosen: NDArray[np.int64] | slice) -> Window:
    """A window of chosen images."""
    made = Window(sum(LAYERS.values()))
    made.add(joined(means)[chosen], joined(squares)[chosen])
    return made
