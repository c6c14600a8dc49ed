"""Mean and variance of a stream of values per channel, in float64, whatever the stream's pieces."""

from dataclasses import dataclass

import numpy as np

from training.fold.affine import Float64
from training.graph import Array

_PIECE = 2**16  # values that are widened at once: they stay in the processor's cache


@dataclass(slots=True)
class Moments:
    """Count, mean [C] and sum of squared deviations M2 [C] of the values seen so far."""

    count: int = 0
    mean: Float64 | float = 0.0
    m2: Float64 | float = 0.0

    def add(self, values: Array) -> None:
        """Takes in `values` [N, C, …]: each of the N and of the positions is one observation."""
        rows = values.reshape(*values.shape[:2], -1)  # [N, C, P]
        step = max(1, _PIECE // max(1, rows[0].size))
        for start in range(0, len(rows), step):
            piece = rows[start : start + step].astype(np.float64)
            mean = piece.mean(axis=(0, 2))
            piece -= mean[:, np.newaxis]
            m2 = np.einsum("ncp,ncp->c", piece, piece)
            self.merge(Moments(piece.shape[0] * piece.shape[2], mean, m2))

    def merge(self, other: "Moments") -> None:
        """Chan, Golub & LeVeque 1983: exact for any split of the observations."""
        count = self.count + other.count
        delta = other.mean - self.mean
        self.mean = self.mean + delta * (other.count / count)
        self.m2 = self.m2 + other.m2 + delta * delta * (self.count * other.count / count)
        self.count = count

    @property
    def variance(self) -> Float64:
        """The unbiased variance M2/(count - 1), [C], as running statistics have it."""
        return np.asarray(self.m2 / (self.count - 1), np.float64)
