"""Mistakes on the way of an image into the network, recognized by what they do to the input.

Each known mistake maps the reference's mean and deviation of every input channel to others. If one
of these explains the traffic, and the reference itself does not, it is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.drift.changes import WORDS

Vector = NDArray[np.float64]

# In deviations of the input: what other images may differ by; and how near a mistake has to come to
# be named, and how much nearer than the reference.
_ORDINARY = 0.3
_EXPLAINED = 0.35
_NEARER = 0.5
# A difference of ln σ that counts as much as a mean that is as far as may be explained.
_LOG_OF_STD = 0.5


@dataclass(frozen=True, eq=False)
class Input:
    """Mean and standard deviation of an input by channel, [C]."""

    mean: Vector
    std: Vector

    def distance(self, other: "Input") -> float:
        """The largest over the channels: of the means, in this one's deviations, and of ln σ."""
        std = np.maximum(self.std, 1e-9)
        means = np.abs(other.mean - self.mean) / std
        logs = np.abs(np.log(np.maximum(other.std, 1e-9) / std)) / _LOG_OF_STD * _EXPLAINED
        return float(np.maximum(means, logs).max())


@dataclass(frozen=True, eq=False)
class Pictures:
    """The preprocessing's mean and std by channel: the input is (p - mean)/std, p from 0 to 1."""

    mean: Vector
    std: Vector


def likely_cause(reference: Input, live: Input, pictures: Pictures | None) -> str | None:
    """The mistake that explains the live input, in words; None where there is nothing to explain,
    or none that does."""
    away = reference.distance(live)
    if away < _ORDINARY:
        return None
    found = [(made.distance(live), words) for made, words in _mistakes(reference, pictures)]
    distance, words = min(found, key=lambda pair: pair[0])
    return words if distance < min(_EXPLAINED, _NEARER * away) else None


def _mistakes(reference: Input, pictures: Pictures | None) -> Iterator[tuple[Input, str]]:
    mean, std = reference.mean, reference.std
    for factor, words in (
        (255.0, "the inputs are 255 times too large: pixels were not divided by 255"),
        (1 / 255, "the inputs are 255 times too small: pixels were divided by 255 twice"),
    ):
        yield Input(factor * mean, factor * std), words
    if len(mean) == 3:
        yield Input(mean[::-1], std[::-1]), WORDS["swapped"]
    if pictures is None:
        yield Input(-mean, std), "the inputs have the opposite sign: images may be inverted"
        return
    p, spread = mean * pictures.std + pictures.mean, std * pictures.std
    for made, words in _of_pictures(p, spread, pictures):
        yield made, words


def _of_pictures(p: Vector, spread: Vector, how: Pictures) -> Sequence[tuple[Input, str]]:
    """`p` and `spread` are mean and deviation of the pixels, from 0 to 1."""

    def normalized(mean: Vector, std: Vector) -> Input:
        return Input((mean - how.mean) / how.std, std / how.std)

    once = normalized(p, spread)
    return (
        (Input(p, spread), "the normalization is missing: pixels from 0 to 1 came as they are"),
        (Input(255 * p, 255 * spread), "the preprocessing is missing: pixels from 0 to 255 came"),
        (normalized(255 * p, 255 * spread), "pixels were not divided by 255 before normalizing"),
        (normalized(p / 255, spread / 255), "pixels were divided by 255 twice"),
        (normalized(once.mean, once.std), "the inputs were normalized twice"),
        (normalized(1 - p, spread), WORDS["inverted"]),
        (
            Input(2 * p - 1, 2 * spread),
            "pixels were scaled to the range from -1 to 1 instead of by the network's mean and std",
        ),
    )
