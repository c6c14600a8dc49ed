"""What a stretch of traffic looked like: sums over its images, exact to merge."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import Vector


@dataclass(eq=False)
class Window:
    """Means over `rows` images, in float64, of each channel's mean and mean square, [channels] for
    all layers one after another; and counts.

    `outliers` are images unlike any of the reference; `nonfinite` had a NaN or an infinity in some
    layer and are in no mean, with the first such layer's index in `first_nonfinite`; `classes`
    counts predicted classes, [K]; `started` is when it began, in seconds since the epoch.
    """

    channels: int
    started: float = 0.0
    rows: int = 0
    outliers: int = 0
    nonfinite: int = 0
    mean: Vector = field(default_factory=lambda: np.empty(0))
    mean_square: Vector = field(default_factory=lambda: np.empty(0))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if not self.mean.size:
            self.mean, self.mean_square = np.zeros(self.channels), np.zeros(self.channels)

    def add(self, means: NDArray[np.floating], squares: NDArray[np.floating]) -> None:
        """Takes the rows [n, channels] of n images in."""
        if len(means):
            self._merge(
                len(means),
                means.mean(axis=0, dtype=np.float64),
                squares.mean(axis=0, dtype=np.float64),
            )

    def count_classes(self, indices: NDArray[np.integer], classes: int) -> None:
        """Takes the predicted classes of images in."""
        counts = np.bincount(indices, minlength=classes).astype(np.int64)
        self.classes = _sum(self.classes, counts)

    def merge(self, other: "Window") -> None:
        """Takes another window in (Chan, Golub & LeVeque 1983)."""
        self.outliers += other.outliers
        self.nonfinite += other.nonfinite
        self.classes = _sum(self.classes, other.classes)
        if other.rows:
            self._merge(other.rows, other.mean, other.mean_square)

    def _merge(self, rows: int, mean: Vector, mean_square: Vector) -> None:
        self.rows += rows
        share = rows / self.rows
        self.mean = self.mean + (mean - self.mean) * share
        self.mean_square = self.mean_square + (mean_square - self.mean_square) * share


def _sum(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of either length, added."""
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total
