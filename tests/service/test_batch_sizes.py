"""Only sizes that answer with the same bits are run: found on kernels that see the batch."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from service.batch_sizes import BatchSizes, find_batch_sizes
from service.manifest import Check
from service.tensors import Array, TensorSpec

INPUTS = [TensorSpec("x", "FP32", (-1, 4))]
Network = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def kernel(sees: Callable[[int, int], bool]) -> Network:
    """Moves the last bit of row i in a batch of n where `sees(n, i)`; takes 0.1 ms."""

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        time.sleep(1e-4)
        x = inputs["x"]
        moved = np.array([[sees(len(x), i)] for i in range(len(x))])
        return {"y": np.where(moved, np.nextafter(x, np.float32(9)), x)}

    return run


@pytest.mark.parametrize(
    ("sees", "sizes", "words"),
    [
        (lambda n, i: False, (1, 2, 3, 4, 6, 8), "bit-equal in batches of 1, 2, 3, 4, 6, 8"),
        (lambda n, i: n == 1, (2, 3, 4, 6, 8), "padded to 2, 3, 4, 6, 8"),  # a row takes GEMV
        (lambda n, i: n > 3, (4, 6, 8), "padded to 4, 6, 8"),  # the way of more rows is wider
        # rows beyond the last four of a tile take another way
        (lambda n, i: i >= n - n % 4, (4, 8), "padded to 4, 8"),
        (lambda n, i: i > 0, (1,), "each row is run alone"),
    ],
)
def test_sizes_that_differ_are_never_run(
    sees: Callable[[int, int], bool], sizes: tuple[int, ...], words: str
) -> None:
    found = find_batch_sizes(kernel(sees), INPUTS, largest=8)
    assert found.sizes == sizes
    assert words in found.check.detail
    assert found.check.passed == ("bit-equal" in words)
    assert (found.check.figure > 0) != found.check.passed


def test_a_single_row_is_not_padded_to_what_costs_twice_as_much() -> None:
    differing = kernel(lambda n, i: n > 3)

    def slow(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        time.sleep(3e-4 * len(inputs["x"]))
        return differing(inputs)

    assert find_batch_sizes(slow, INPUTS, largest=4).sizes == (1, 2, 3)


def test_fixed_and_free_sizes() -> None:
    same = kernel(lambda n, i: False)
    fixed = find_batch_sizes(same, [TensorSpec("x", "FP32", (3, 4))], largest=8)
    assert (fixed.sizes, fixed.check.passed) == ((3,), True)
    free = find_batch_sizes(same, [TensorSpec("x", "FP32", (-1, -1))], largest=8)
    assert free.sizes == (1,)
    assert "each row is run alone" in free.check.detail


def test_batches_of_a_network_that_gains_nothing_stay_small() -> None:
    """A run that takes 3 ms a row: eight rows at once answer no more rows a second."""

    def slow(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        time.sleep(0.003 * len(inputs["x"]))
        return {"y": inputs["x"]}

    assert find_batch_sizes(slow, INPUTS, largest=8).sizes == (1,)


def test_a_plan_pads_or_takes_less_by_what_an_answer_costs() -> None:
    check = Check(passed=True, figure=0, limit=0, detail="")
    dear = BatchSizes((1, 2, 4, 8), (1.0, 2.0, 4.0, 8.0), check)  # no gain: never pad
    assert dear.plans() == (0, 1, 2, 2, 4, 4, 4, 4, 8)
    flat = BatchSizes((1, 2, 4, 8), (1.0, 1.1, 1.2, 1.3), check)  # one run costs, not its rows
    assert flat.plans() == tuple(range(9))
    assert flat.fits() == (1, 1, 2, 4, 4, 8, 8, 8, 8)
