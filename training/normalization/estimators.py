"""The ways to the statistics of inference, side by side, and how soon they forget their start.

The exponential moving average follows the last batches, the cumulative average all of them alike,
both of weights that have since changed; the population statistics are measured afterwards, on the
weights as they are (`training.population`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from training.normalization.batch_function import batch_statistics

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Estimates:
    """Mean and unbiased variance [C] by each estimator from the same batches; of population ones
    the variance is that of all values, with what lies between the means of the batches."""

    exponential: Pair
    cumulative: Pair
    population: Pair


def estimates(batches: Iterable[Tensor], momentum: float = 0.1) -> Estimates:
    """All three from batches [N, C, …] of one layer's inputs; `momentum` weighs the new value.

    The exponential average begins at mean 0 and variance 1. Raises ValueError for no batches, or
    one with fewer than two values per channel.
    """
    exponential: Pair | None = None
    cumulative: Pair | None = None
    merged: tuple[int, Tensor, Tensor] | None = None
    for seen, batch in enumerate(batches, 1):
        count = batch.numel() // batch.shape[1]
        if count < 2:
            raise ValueError(f"expected at least two values per channel, got {count}")
        mean, biased = (value.double() for value in batch_statistics(batch.detach()))
        new = mean, biased * (count / (count - 1))
        start = mean * 0, mean * 0 + 1
        exponential = _towards(exponential or start, new, momentum)
        cumulative = _towards(cumulative or start, new, 1 / seen)
        merged = _merge(merged, (count, mean, biased * count))
    if exponential is None or cumulative is None or merged is None:
        raise ValueError("expected at least one batch to estimate from, got none")
    count, mean, squares = merged
    return Estimates(exponential, cumulative, (mean, squares / (count - 1)))


def _towards(old: Pair, new: Pair, weight: float) -> Pair:
    return old[0].lerp(new[0], weight), old[1].lerp(new[1], weight)


def _merge(
    old: tuple[int, Tensor, Tensor] | None, new: tuple[int, Tensor, Tensor]
) -> tuple[int, Tensor, Tensor]:
    """Counts, means and squared deviations joined (Chan, Golub & LeVeque 1983)."""
    if old is None:
        return new
    total, delta = old[0] + new[0], new[1] - old[1]
    squares = old[2] + new[2] + delta.square() * (old[0] * new[0] / total)
    return total, old[1] + delta * (new[0] / total), squares


def updates_to_forget(kept: float, share: float = 0.01) -> int:
    """The least number t of updates after which the initial value weighs at most `share`: k^t.

    `kept` is the weight k on the old value, 1 - momentum in PyTorch's sense. Raises ValueError
    unless both are between 0 and 1.
    """
    if not (0 <= kept < 1 and 0 < share < 1):
        raise ValueError(f"expected 0 <= kept < 1 and 0 < share < 1, got {kept} and {share}")
    return max(1, math.ceil(math.log(share) / math.log(kept) - 1e-9)) if kept else 1


def remaining(kept: float, updates: int) -> float:
    """The weight of the initial value after so many updates: k^t."""
    return float(kept**updates)


def window(kept: float) -> float:
    """The number of batches whose plain mean is as noisy as the exponential average: 2/(1-k) - 1.

    The variance of the average is (1-k)/(1+k) of that of one batch.
    """
    return 2 / (1 - kept) - 1
