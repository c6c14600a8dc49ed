"""BN003: the network's answer for a row changes with its batch, measured by running it.

Rows are run alone and inside shuffled batches of 2, 8 and 64. This finds what no attribute tells:
statistics written out in plain operators, or a hand-written layer whose eval branch uses the
batch. Threshold: a difference of 1e-4·(1 + max |y|), two orders above the rounding of float32, so
kernels that choose their summation by the number of rows pass. 8 rows and few batches bound the
time: about 100 rows are run.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding, NotChecked
from training.doctor.patient import Patient
from training.doctor.rows import Rows, draw_rows
from training.doctor.rule import Rule
from training.doctor.runner import Runner
from training.graph import Array

COMPARED = 8
BATCHES = {2: 8, 8: 2, 64: 1}  # by size
ROWS = max(BATCHES)
LIMIT = 1e-4

Answer = dict[str, Array]


def check(patient: Patient) -> Iterator[Finding]:
    """One error for the network, with the largest difference and the labels that flip."""
    runner = patient.runner
    if not runner.inputs or not all(given.batched for given in runner.inputs):
        raise NotChecked("a network whose batch dimension is free")
    rows = patient.rows
    if rows is None or len(rows) < ROWS:
        rows = draw_rows(runner.inputs, ROWS)
    alone = [runner.run(rows.take(slice(row, row + 1))) for row in range(COMPARED)]
    gap, flips = _compare(runner, rows, alone)
    names = [name for name in alone[0] if _per_row(alone[0][name], 1)]
    if not names:
        raise NotChecked("an output with one row for each row of the input")
    largest = max(_largest(answer[name]) for answer in alone for name in names)
    limit = LIMIT * (1 + largest)
    if gap > limit:
        yield Finding(
            "BN003",
            "error",
            f"the same row scores differently in different batches (by at most {gap:.3g}; "
            f"{len(flips)} of {COMPARED} labels flip): a layer takes statistics from the batch. "
            "Freeze population statistics in it.",
            measured=gap,
            threshold=limit,
        )


def _compare(runner: Runner, rows: Rows, alone: list[Answer]) -> tuple[float, set[int]]:
    """The largest difference over all batch sizes, and the rows whose label changes."""
    random, worst, flips = np.random.default_rng(0), 0.0, set[int]()
    for size, count in BATCHES.items():
        order = random.permutation(ROWS).reshape(-1, size)
        for batch in order[(order < COMPARED).any(axis=1)][:count]:
            together = runner.run(rows.take(batch))
            for place, row in enumerate(batch):
                if row < COMPARED:
                    gap, flipped = _difference(alone[row], together, place, size)
                    worst = max(worst, gap)
                    flips |= {int(row)} if flipped else set()
    return worst, flips


def _difference(alone: Answer, together: Answer, place: int, size: int) -> tuple[float, bool]:
    worst, flipped = 0.0, False
    for name, own in alone.items():
        if not _per_row(own, 1) or not _per_row(together[name], size):
            continue
        left, right = own[0].astype(np.float64), together[name][place].astype(np.float64)
        if left.shape != right.shape:
            continue  # as many boxes as there are: nothing to compare one by one
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        apart = np.where(same, 0, np.abs(np.where(same, 0, left) - np.where(same, 0, right)))
        worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max(initial=0)))
        if left.ndim == 1 and left.size > 1:
            flipped |= bool(left.argmax() != right.argmax())
    return worst, flipped


def _largest(array: Array) -> float:
    """The largest finite magnitude: overflow is another fault, and the same in every batch."""
    size = np.abs(array.astype(np.float64))
    return float(size[np.isfinite(size)].max(initial=0))


def _per_row(array: Array, rows: int) -> bool:
    return array.ndim > 0 and len(array) == rows and array.dtype.kind in "fiub"


RULE = Rule("BN003", "a row's answer does not depend on its batch", check)
