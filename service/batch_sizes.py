"""Which batch sizes a network is run at on this machine, found when it is loaded.

A kernel may round differently for one row than for many, or for the last rows of a batch. So each
size is tried with the same rows, and only sizes that answer every row with the same bits are ever
run: batches between them are padded. The same runs warm the network up and tell what a size costs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from service.manifest import Check
from service.tensors import Array, TensorSpec
from service.verification import SEED, fixed_batch, random_inputs, row_gap

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]

# Steps of a third to a half: padding costs little, and there is not much to try.
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
EXPENSIVE_S = 2e-3  # a run from which it matters how much a larger batch gains
_LONG_S = 1e-2
_PAYS = 1.05  # twice the rows must answer more rows a second, or a large batch only delays


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """The sizes that may be run, ascending, what a run of each takes, and what was found out."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    check: Check

    @property
    def largest(self) -> int:
        """The most rows of a run."""
        return self.sizes[-1]

    def fits(self) -> tuple[int, ...]:
        """For each number of rows up to the largest: the smallest size that holds them."""
        return tuple(
            next(size for size in self.sizes if size >= rows) for rows in range(self.largest + 1)
        )

    def plans(self) -> tuple[int, ...]:
        """For each number of waiting rows up to the largest: how many to run at once."""
        return (0, *(self._plan(rows) for rows in range(1, self.largest + 1)))

    def seconds_of(self, size: int) -> float:
        """What a run of one of the sizes takes."""
        return self.seconds[self.sizes.index(size)]

    def _plan(self, rows: int) -> int:
        """All, padded, or only as many as fill a size: what costs less for each answer."""
        above = next(size for size in self.sizes if size >= rows)
        below = max((size for size in self.sizes if size <= rows), default=0)
        if below and self.seconds_of(below) / below < self.seconds_of(above) / rows:
            return below
        return rows


def find_batch_sizes(run: Run, inputs: Sequence[TensorSpec], largest: int) -> BatchSizes:
    """Tries batches of up to `largest` rows; raises what `run` raises."""
    if (fixed := fixed_batch(inputs)) is not None:
        detail = f"the batch dimension is fixed at {fixed}: no other batches can be sent"
        return _only(fixed, run, inputs, detail)
    if any(-1 in spec.shape[1:] for spec in inputs):
        detail = "sizes beside the batch are free, and cannot all be tried: each row is run alone"
        return _only(1, run, inputs, detail)
    batch = random_inputs(inputs, largest, np.random.default_rng(SEED))
    seconds = _time_sizes(run, batch, [size for size in LADDER if size <= largest])
    tried = list(seconds)
    gaps = _gaps(run, batch, [run(_rows(batch, i, i + 1)) for i in range(tried[-1])], tried)
    same = tried if not any(gaps.values()) else _largest_class(run, batch, seconds)
    check = _check(same, tried, max(gaps.values()))
    return BatchSizes(tuple(same), tuple(seconds[size] for size in same), check)


def _only(size: int, run: Run, inputs: Sequence[TensorSpec], detail: str) -> BatchSizes:
    batch = random_inputs(inputs, size, np.random.default_rng(SEED))
    check = Check(passed=True, figure=0.0, limit=0.0, detail=detail)
    return BatchSizes((size,), tuple(_time_sizes(run, batch, [size]).values()), check)


def _time_sizes(run: Run, batch: Mapping[str, Array], sizes: list[int]) -> dict[int, float]:
    """Seconds of each size, the first run of each not counted; up to where larger ones pay."""
    seconds: dict[int, float] = {}
    for size in sizes:
        rows = _rows(batch, 0, size)
        run(rows)
        seconds[size] = best_time(run, rows)
        half = max((s for s in seconds if s <= size / 2), default=0)
        pays = half * seconds[size] * _PAYS < size * seconds[half] if half else True
        if seconds[size] > EXPENSIVE_S and not pays:
            return {s: seconds[s] for s in seconds if s <= half}
    return seconds


def best_time(run: Run, rows: Mapping[str, Array]) -> float:
    """Seconds of a run: the best of five, or of two where one takes long."""
    best, trials = float("inf"), 5
    for trial in range(trials):
        began = perf_counter()
        run(rows)
        best = min(best, perf_counter() - began)
        if trial and best > _LONG_S:
            break
    return best


def _largest_class(run: Run, batch: Mapping[str, Array], seconds: Mapping[int, float]) -> list[int]:
    """Sizes that agree among themselves, where not all do: those with the largest batch.

    What a size answers is what it answers to a row repeated to fill it. A class is of use when
    padding a single row to the smallest of its sizes costs no more than another run.
    """
    sizes = list(seconds)
    for reference in reversed(sizes):
        expected = _repeated(run, batch, sizes[-1], reference)
        if expected is None:
            continue
        gaps = _gaps(run, batch, expected, sizes)
        same = [size for size in sizes if gaps[size] == 0.0]
        if same and seconds[same[0]] < 2 * seconds[sizes[0]]:
            return same
    return [1]


def _repeated(
    run: Run, batch: Mapping[str, Array], rows: int, size: int
) -> list[Mapping[str, Array]] | None:
    """The answer to each row repeated `size` times; None where the place in a batch matters."""
    expected = []
    for i in range(rows):
        same = {name: np.repeat(array[i : i + 1], size, 0) for name, array in batch.items()}
        answers = run(same)
        expected.append({name: array[:1] for name, array in answers.items()})
        if any(row_gap(answers, row, expected[i]) for row in range(size)):
            return None
    return list(expected)


def _gaps(
    run: Run,
    batch: Mapping[str, Array],
    expected: Sequence[Mapping[str, Array]],
    sizes: list[int],
) -> dict[int, float]:
    """How far the answers at each size are from the bits expected; 0 where they are those."""
    gaps = {}
    for size in sizes:
        answers = run(_rows(batch, 0, size))
        gaps[size] = max(row_gap(answers, row, expected[row]) for row in range(size))
    return gaps


def _check(same: list[int], tried: list[int], gap: float) -> Check:
    sizes, every = ", ".join(map(str, same)), ", ".join(map(str, tried))
    if same == tried:
        detail = f"bit-equal in batches of {sizes}"
    elif same == [1]:
        detail = f"bits differ in batches of {every}: each row is run alone"
    else:
        detail = f"bits differ in batches of {every}: padded to {sizes}, which agree"
    return Check(passed=same == tried, figure=gap, limit=0.0, detail=detail)


def _rows(batch: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: array[start:stop] for name, array in batch.items()}
