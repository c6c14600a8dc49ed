"""The promise of frozen networks: kept ones pass, broken ones are found, fixed batches load."""

from collections.abc import Mapping

import numpy as np
import pytest

from service.tensors import Array, TensorSpec
from service.verification import check_batch_invariance, check_frozen

INPUTS = [TensorSpec("x", "FP32", (-1, 4))]


def frozen(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every row by itself."""
    return {"y": inputs["x"] * 2}


def normalizing(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Batch normalization in training mode: takes the mean of the batch."""
    return {"y": inputs["x"] - inputs["x"].mean(axis=0)}


def sized(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Sees how many rows there are, but not what is in them."""
    x = inputs["x"]
    return {"y": np.nextafter(x, np.inf, dtype=x.dtype) if len(x) > 8 else x}


def test_a_frozen_network_passes_both() -> None:
    assert check_frozen(frozen, INPUTS).passed
    assert check_batch_invariance(frozen, INPUTS).passed


def test_statistics_of_the_batch_are_found() -> None:
    check = check_frozen(normalizing, INPUTS)
    assert not check.passed
    assert check.figure > 1
    assert not check_batch_invariance(normalizing, INPUTS).passed


def test_the_last_bit_in_large_batches_is_found() -> None:
    check = check_batch_invariance(sized, INPUTS)
    assert not check.passed
    assert "17, 32" in check.detail
    assert check_frozen(sized, INPUTS).passed


def test_fixed_batches_have_nothing_to_compare() -> None:
    check = check_batch_invariance(normalizing, [TensorSpec("x", "FP32", (4, 4))])
    assert check.passed
    assert "fixed at 4" in check.detail
    assert "fixed at 1" in check_frozen(normalizing, [TensorSpec("x", "FP32", (1, 4))]).detail


@pytest.mark.parametrize("size", [2, 4])
def test_neighbours_inside_a_fixed_batch_are_still_compared(size: int) -> None:
    inputs = [TensorSpec("x", "FP32", (size, 4))]
    assert check_frozen(frozen, inputs).passed
    assert not check_frozen(normalizing, inputs).passed
