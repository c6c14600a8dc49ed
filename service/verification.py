"""The promise that an answer depends on its input alone, checked by running the network.

Used twice with the same code: when a bundle is built, and when it is loaded on the machine that
serves it, since it is the kernels of that machine that must keep the promise.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.manifest import Check
from service.tensors import Array, TensorSpec

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]

BATCH_SIZES = (2, 3, 8, 17, 32)
FREE_SIZE = 32
SEED = 20150211  # the day on which the batch normalization paper was submitted


def random_inputs(
    inputs: Sequence[TensorSpec], rows: int, rng: np.random.Generator
) -> dict[str, Array]:
    """Standard normal values (integers, text: 0 to 9) for every input, `rows` in the batch."""
    return {spec.name: _random(spec, rows, rng) for spec in inputs}


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """The one batch size that the network takes, or None when the batch dimension is free."""
    size = inputs[0].shape[0]
    return None if size == -1 else size


def check_batch_invariance(run: Run, inputs: Sequence[TensorSpec]) -> Check:
    """Bit equality of each row's answer alone and inside batches of 2, 3, 8, 17 and 32.

    Where the batch dimension is fixed there is nothing to compare, and the check has passed.
    """
    if (fixed := fixed_batch(inputs)) is not None:
        return _held(f"the batch dimension is fixed at {fixed}: no other batches can be sent")
    rows = random_inputs(inputs, max(BATCH_SIZES), np.random.default_rng(SEED))
    alone = [run(_rows(rows, i, i + 1)) for i in range(max(BATCH_SIZES))]
    worst, failing = 0.0, []
    for size in BATCH_SIZES:
        together = run(_rows(rows, 0, size))
        gap = max(row_gap(together, i, alone[i]) for i in range(size))
        worst = max(worst, gap)
        if gap:
            failing.append(size)
    sizes = ", ".join(map(str, BATCH_SIZES))
    detail = (
        f"bits differ in batches of {', '.join(map(str, failing))}"
        if failing
        else f"bit-equal alone and in batches of {sizes}"
    )
    return Check(passed=not failing, figure=worst, limit=0.0, detail=detail)


def check_frozen(run: Run, inputs: Sequence[TensorSpec], size: int = 8) -> Check:
    """Bit equality of one row's answer beside ordinary neighbours and beside extreme ones.

    A layer that normalized with the statistics of its batch would move by as much as the
    neighbours do; here they are scaled by 1000. A batch dimension that is fixed decides `size`.
    """
    size = fixed_batch(inputs) or size
    if size == 1:
        return _held("the batch dimension is fixed at 1: an answer has no neighbours")
    rng = np.random.default_rng(SEED + 1)
    ordinary = random_inputs(inputs, size, rng)
    extreme = {name: _disturbed(array) for name, array in ordinary.items()}
    before, after = run(ordinary), run(extreme)
    gap = max(_difference(before[name][:1], after[name][:1]) for name in before)
    detail = "an answer is the same bits beside ordinary and extreme neighbours"
    if gap:
        detail = "an answer changes with its neighbours: a layer takes statistics from the batch"
    return Check(passed=gap == 0.0, figure=gap, limit=0.0, detail=detail)


def _held(detail: str) -> Check:
    return Check(passed=True, figure=0.0, limit=0.0, detail=detail)


def _random(spec: TensorSpec, rows: int, rng: np.random.Generator) -> Array:
    shape = spec.sizes(rows, FREE_SIZE)
    if spec.dtype.kind == "f":
        return rng.standard_normal(shape).astype(spec.dtype)
    if spec.datatype == "BYTES":
        return rng.integers(0, 10, shape).astype(str).astype(object)
    return rng.integers(0, 2 if spec.dtype.kind == "b" else 10, shape).astype(spec.dtype)


def _disturbed(array: Array) -> Array:
    if array.dtype.kind != "f":
        return np.concatenate([array[:1], array[:0:-1]])
    disturbed = array.copy()
    disturbed[1:] *= 1000
    return disturbed


def _rows(batch: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: array[start:stop] for name, array in batch.items()}


def row_gap(together: Mapping[str, Array], row: int, alone: Mapping[str, Array]) -> float:
    """0 where a row of a batch has the bits of its answer alone, else how far it is off."""
    return max(_difference(together[name][row : row + 1], alone[name]) for name in alone)


def _difference(left: Array, right: Array) -> float:
    """0 for equal bits; else the largest absolute difference, infinite if NaN or shapes differ."""
    if left.dtype.kind == "O":  # text, whose bytes lie elsewhere
        return 0.0 if left.tolist() == right.tolist() else float("inf")
    if left.shape == right.shape and left.tobytes() == right.tobytes():
        return 0.0
    if left.shape != right.shape:
        return float("inf")
    gap = float(np.max(np.abs(left.astype(np.float64) - right.astype(np.float64)), initial=0.0))
    return gap if gap > 0 else float("inf")
