"""Known changes of pictures, each recognized by its signature: how all layers move with it.

A layer's own test has to be ready for any shift, so that a shift in a known direction has to be
large before it is seen. The signature of a known change is measured when the bundle is made: with
δ, what the change does to the layers' means, and Σ, how images differ anyway, the filter Σ⁻¹δ is
the direction that tells it best from chance (Fisher 1936; a matched filter). Its answer is the
amount of the change: 0 for the reference, 1 for the change as it was measured.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.drift import chi_squared

Matrix = NDArray[np.floating]
Vector = NDArray[np.float64]

WORDS = {
    "brighter": "the images are brighter",
    "darker": "the images are darker",
    "less contrast": "the images have less contrast",
    "more contrast": "the images have more contrast",
    "blurred": "the images are blurred",
    "noisy": "the images are noisy",
    "inverted": "the images are inverted: dark came where light was expected",
    "swapped": "the colour channels are swapped: BGR came where RGB was expected",
}
# Changes that are matters of degree; the others are mistakes, which are there or not.
GRADUAL = frozenset(WORDS) - {"inverted", "swapped"}
# Of how the layers moved, the part that a change has to explain to be named as the cause: what is
# not known moves along known changes, too.
_EXPLAINED = 0.5
_MOST_SKEWED = 1.8**2  # beyond it the series' quantile falls again
_LEAST_MISTAKE, _MOST_MISTAKE = 0.5, 2.0


@dataclass(frozen=True, eq=False)
class Signatures:
    """K changes over all C channels of the layers, one after another.

    With x = m - μ₀ and y = ψ - ψ₀ (`service.drift.baseline`), the amount of change k is
    `mean_filter`[k]·x + `influence_filter`[k]·y; the change itself moves x and y by
    `mean_direction` and `influence_direction`; all [K, C]. `spread`, `skewness` and `kurtosis` (the
    excess) [K] are those of single images' amounts in the reference, by filters that were made
    without them; `floor` [K] is the smallest amount that is called drift.
    """

    changes: tuple[str, ...]
    mean_filter: Matrix
    influence_filter: Matrix
    mean_direction: Matrix
    influence_direction: Matrix
    spread: Vector
    skewness: Vector
    kurtosis: Vector
    floor: Vector


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a window is from the baseline, by channel: x and y [C]; `weights` [2, C] are what
    each counts, so that a layer's own chance counts one. `chance` is what f makes of all."""

    mean: Vector
    influence: Vector
    weights: Vector
    chance: float


@dataclass(frozen=True, slots=True)
class ChangeScore:
    """One known change in a window: its `amount`, and the smallest that is called drift; how many
    standard deviations of chance it is, and how many chance stays below; and the part of the
    layers' movement that it explains, which chance may bring above 1."""

    change: str
    amount: float
    floor: float
    significance: float
    threshold: float
    explained: float

    @property
    def alarm(self) -> bool:
        """Beyond chance, and large enough to matter."""
        return self.significance > self.threshold and self.amount > self.floor

    @property
    def is_cause(self) -> bool:
        """Whether it explains most of what is seen; a mistake is there as a whole or not at all."""
        whole = self.change in GRADUAL or _LEAST_MISTAKE < self.amount < _MOST_MISTAKE
        return self.alarm and whole and self.explained > _EXPLAINED


def score_changes(
    signatures: Signatures, moved: Moved, images: tuple[int, int], level: float
) -> tuple[ChangeScore, ...]:
    """The score of every change; `images` are n of the window and N of the baseline, and `level` is
    the probability of a false alarm of all changes together."""
    n, reference = images
    f = 1 / n + 1 / reference
    # Of the difference of two means, whose cumulants add up but for their signs.
    third, fourth = (1 / n**2 - 1 / reference**2) / f**1.5, (1 / n**3 + 1 / reference**3) / f**2
    amounts = signatures.mean_filter @ moved.mean + signatures.influence_filter @ moved.influence
    deviations = signatures.spread * math.sqrt(f)
    explained = _explained(signatures, moved)
    return tuple(
        ChangeScore(
            change,
            float(amounts[k]),
            float(signatures.floor[k]),
            float(amounts[k] / deviations[k]),
            _threshold(
                level / len(signatures.changes),
                float(signatures.skewness[k]) * third,
                float(signatures.kurtosis[k]) * fourth,
            ),
            float(explained[k]),
        )
        for k, change in enumerate(signatures.changes)
    )


def _explained(signatures: Signatures, moved: Moved) -> Vector:
    """The squared cosine between what moved and each change, in units of the layers' chance, whose
    own part is taken from what moved, [K]."""
    mean_weight, influence_weight = moved.weights
    x, y = mean_weight * moved.mean, influence_weight * moved.influence
    along = signatures.mean_direction @ x + signatures.influence_direction @ y
    lengths = (
        signatures.mean_direction.astype(np.float64) ** 2 @ mean_weight
        + signatures.influence_direction.astype(np.float64) ** 2 @ influence_weight
    )
    whole = float(x @ moved.mean + y @ moved.influence)
    beyond = max(whole - moved.chance, 1e-3 * whole, 1e-300)
    squares = np.where(along > 0, along, 0.0) ** 2 / np.maximum(lengths, 1e-300)
    result: Vector = squares / beyond
    return result


def _threshold(probability: float, skewness: float, kurtosis: float) -> float:
    """What a mean stays below but for that probability, in its standard deviations: the normal
    quantile, larger where its skewness and excess kurtosis make it so (Cornish & Fisher 1938)."""
    z = math.sqrt(chi_squared.quantile(1 - 2 * probability, 1))
    corrected = (
        z
        + (z**2 - 1) * skewness / 6
        + (z**3 - 3 * z) * kurtosis / 24
        - (2 * z**3 - 5 * z) * min(skewness**2, _MOST_SKEWED) / 36
    )
    return max(z, corrected)
