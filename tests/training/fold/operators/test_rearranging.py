"""Slice, Gather, Tile, Expand, ReduceSum, Mean and GridSample between weights and a layer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.folds import folds, refusal, rising, unshifted
from tests.graphs import Builder, hostile_statistics
from training.fold import fold

C = 4
IMAGE = (2, C, 6, 6)
INT_MIN = -(2**63)


def _conv(builder: Builder, name: str = "c", data: str = "x", out: int = C) -> str:
    weight = builder.weight(f"{name}.w", out, C, 3, 3)
    return builder.op("Conv", [data, weight, builder.weight(f"{name}.b", out)], name, pads=[1] * 4)


def _ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


def _slice(builder: Builder, data: str, *ranges: tuple[int, int, int, int]) -> str:
    """Each range is start, end, axis, step."""
    columns = (
        _ints(builder, f"cut{k}", *numbers) for k, numbers in enumerate(zip(*ranges, strict=True))
    )
    return builder.op("Slice", [data, *columns], "p")


def _gather(builder: Builder, data: str, indices: Any, axis: int = 1) -> str:
    held = builder.constant("indices", np.array(indices, np.int64))
    return builder.op("Gather", [data, held], "p", axis=axis)


def _tile(builder: Builder, data: str, *repeats: int) -> str:
    return builder.op("Tile", [data, _ints(builder, "repeats", *repeats)], "p")


Through = Callable[[Builder, str], str]
# The operator behind a convolution of four channels, and the channels that the layer then has.
BACKWARD: dict[str, tuple[Through, int]] = {
    "chomp": (lambda b, d: _slice(b, d, (0, -2, 3, 1)), C),
    "channels": (lambda b, d: _slice(b, d, (1, 3, 1, 1)), 2),
    "every second channel backward": (lambda b, d: _slice(b, d, (3, INT_MIN, 1, -2)), 2),
    "all but the last channel": (lambda b, d: _slice(b, d, (-C, -1, -3, 1), (1, 99, 2, 2)), 3),
    "permutation": (lambda b, d: _gather(b, d, [2, 0, 3, 1]), C),
    "selection": (lambda b, d: _gather(b, d, [-1, 0]), 2),
    "one row": (lambda b, d: _gather(b, d, 2, axis=2), C),
    "rows, some twice": (lambda b, d: _gather(b, d, [0, 0, 5], axis=2), C),
    "rows as a matrix": (lambda b, d: _gather(b, d, [[0, 1], [2, 2]], axis=-1), C),
    "tiled along the width": (lambda b, d: _tile(b, d, 1, 1, 1, 3), C),
    "sum of the rows": (lambda b, d: b.op("ReduceSum", [d, _ints(b, "a", 2)], "p", keepdims=0), C),
    "sum of an image": (lambda b, d: b.op("ReduceSum", [d, _ints(b, "a", -1, 2)], "p"), C),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_the_line_passes_backward(name: str) -> None:
    through, channels = BACKWARD[name]
    builder = Builder(len(name))
    passed = through(builder, _conv(builder))
    builder.normalize(passed, "y", channels)
    folds(builder, IMAGE, ["Conv", builder.nodes[1].op_type])


@pytest.mark.parametrize("name", BACKWARD)
def test_the_line_passes_forward(name: str) -> None:
    """A layer behind an activation, the operator, and a matrix along the channels."""
    through, channels = BACKWARD[name]
    builder = Builder(len(name))
    passed = through(builder, builder.normalize(builder.op("Relu", ["x"], "r"), "n", C))
    rank = {"one row": 3, "rows as a matrix": 5, "sum of the rows": 3}.get(name, 4)
    last = builder.op("Transpose", [passed], "last", perm=[0, *range(2, rank), 1])
    builder.op("MatMul", [last, builder.weight("w", channels, 3)], "m")
    builder.op("Relu", [builder.op("Add", ["m", builder.weight("k", 3)], "sum")], "y")
    folds(builder, IMAGE, ["Relu", builder.nodes[2].op_type, "Transpose", "MatMul", "Add", "Relu"])


def test_a_slice_of_an_old_opset_has_attributes() -> None:
    builder = Builder(1)
    builder.op("Slice", [_conv(builder)], "p", starts=[1, 0], ends=[3, -1], axes=[1, 3])
    builder.normalize("p", "y", 2)
    folds(builder, IMAGE, ["Conv", "Slice"], opset=9)


def test_a_cut_that_is_computed_passes_a_line_along_no_other_axis() -> None:
    builder = Builder(1)
    end = builder.op("Unsqueeze", [builder.op("Gather", ["size", "two"], "g"), "zero"], "end")
    builder.nodes.insert(0, helper.make_node("Shape", ["x"], ["size"]))
    builder.constant("two", np.array(2)), _ints(builder, "zero", 0)
    builder.op("Slice", [_conv(builder), "zero", end, _ints(builder, "axis", 2)], "p")
    builder.normalize("p", "y", C)
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"])
    assert fold(model).report.folded == 1


def test_a_scalar_index_takes_the_axis_of_the_rows_away() -> None:
    builder = Builder(2)
    row = builder.op("Unsqueeze", [_gather(builder, _conv(builder), 1, axis=0), "zero"], "u")
    builder.constant("zero", np.array([0]))
    builder.normalize(row, "y", C)
    folds(builder, IMAGE, ["Conv", "Gather", "Unsqueeze"])


def test_a_channel_taken_twice_for_different_lines_is_refused() -> None:
    builder = Builder(3)
    builder.normalize(_gather(builder, _conv(builder), [0, 1, 1]), "y", 3)
    assert "takes a channel twice" in refusal(builder, IMAGE)


def test_a_channel_taken_twice_for_one_line_is_folded() -> None:
    builder = Builder(3)
    statistics = hostile_statistics(2, builder.random)
    doubled = {name: array[[0, 1, 1]] for name, array in statistics.items()}
    builder.normalize(_gather(builder, _conv(builder), [0, 1, 1]), "y", doubled)
    folds(builder, IMAGE, ["Conv", "Gather"])


def test_tiled_channels_with_one_line_for_each_copy() -> None:
    builder = Builder(4)
    statistics = hostile_statistics(C, builder.random)
    tiled = _tile(builder, _conv(builder), 1, 2, 1, 1)
    builder.normalize(tiled, "y", {name: np.tile(array, 2) for name, array in statistics.items()})
    folds(builder, IMAGE, ["Conv", "Tile"])


def test_tiled_channels_with_other_lines_are_refused() -> None:
    builder = Builder(4)
    builder.normalize(_tile(builder, _conv(builder), 1, 2, 1, 1), "y", 2 * C)
    assert "several channels of one" in refusal(builder, IMAGE)


def test_an_expanded_vector() -> None:
    builder = Builder(5)
    pooled = builder.op("GlobalAveragePool", [_conv(builder)], "g")
    builder.normalize(builder.op("Expand", [pooled, _ints(builder, "s", 1, C, 3, 5)], "e"), "y", C)
    folds(builder, IMAGE, ["Conv", "GlobalAveragePool", "Expand"])


def test_an_expanded_vector_before_weights() -> None:
    builder = Builder(5)
    pooled = builder.op("GlobalMaxPool", ["x"], "g")
    wide = builder.op(
        "Expand", [builder.normalize(pooled, "n", C), _ints(builder, "s", 1, C, 3, 5)], "e"
    )
    builder.op("Conv", [wide, builder.weight("w", 5, C, 3, 3)], "y")
    folds(builder, IMAGE, ["GlobalMaxPool", "Expand", "Conv"])


def test_expanded_channels_are_refused() -> None:
    builder = Builder(5)
    wide = builder.op("Expand", [_conv(builder, out=1), _ints(builder, "s", 1, C, 1, 1)], "e")
    builder.normalize(wide, "y", C)
    assert "several channels of one" in refusal(builder, IMAGE)


def test_a_sum_over_an_unknown_number_of_entries_takes_no_shift() -> None:
    builder = Builder(6)
    builder.op("ReduceSum", [_conv(builder), _ints(builder, "a", 0)], "p")
    builder.normalize("p", "y", C)
    folds(builder, IMAGE, ["Conv", "ReduceSum", "Add"])


def test_a_sum_of_channels_is_refused() -> None:
    builder = Builder(6)
    builder.op("ReduceSum", [_conv(builder), _ints(builder, "a", 1)], "p", keepdims=0)
    builder.normalize("p", "y", 6)
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_axes_as_an_input() -> None:
    builder = Builder(6)
    builder.op("ReduceMean", [_conv(builder), _ints(builder, "a", 2, 3)], "p")
    builder.normalize("p", "y", C)
    folds(builder, IMAGE, ["Conv", "ReduceMean"], opset=18)


def test_a_minimum_passes_multipliers_that_are_not_negative() -> None:
    builder = Builder(6)
    builder.normalize(builder.op("ReduceMin", [_conv(builder)], "p", axes=[2, 3]), "y", rising(C))
    folds(builder, IMAGE, ["Conv", "ReduceMin"])


def test_the_mean_of_branches() -> None:
    builder = Builder(7)
    branches = [_conv(builder, name) for name in "abc"]
    builder.normalize(builder.op("Mean", branches, "p"), "y", C)
    folds(builder, IMAGE, ["Conv", "Conv", "Conv", "Mean"])


def test_the_mean_with_a_branch_that_takes_no_shift() -> None:
    builder = Builder(7)
    pads = _ints(builder, "pads", 0, 0, 1, 1, 0, 0, 1, 1)
    unpadded = builder.op("Conv", ["x", builder.weight("w", C, C, 3, 3)], "u")
    branches = [_conv(builder, "a"), builder.op("Pad", [unpadded, pads], "b")]
    builder.normalize(builder.op("Mean", branches, "p"), "y", C)
    folds(builder, IMAGE, ["Conv", "Conv", "Pad", "Mean"])


def test_the_mean_with_what_is_no_weight_is_refused() -> None:
    builder = Builder(7)
    builder.normalize(builder.op("Mean", [_conv(builder), "x"], "p"), "y", C)
    assert "'x' is the network's input" in refusal(builder, IMAGE)


def _sampled(builder: Builder, statistics: Any, **attributes: Any) -> None:
    grid = builder.constant("grid", builder.random.uniform(-1.5, 1.5, (2, 5, 5, 2)).astype("f"))
    builder.op("GridSample", [_conv(builder), grid], "p", **attributes)
    builder.normalize("p", "y", statistics)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding", ["border", "reflection"])
def test_samples_of_a_grid(mode: str, padding: str) -> None:
    builder = Builder(8)
    _sampled(builder, C, mode=mode, padding_mode=padding)
    folds(builder, IMAGE, ["Conv", "GridSample"], opset=20)


def test_samples_beyond_the_border_that_are_zeros_take_no_shift() -> None:
    builder = Builder(8)
    _sampled(builder, C)
    folds(builder, IMAGE, ["Conv", "GridSample", "Add"])


def test_samples_beyond_the_border_that_are_zeros_take_a_multiplier() -> None:
    builder = Builder(8)
    _sampled(builder, unshifted(C))
    folds(builder, IMAGE, ["Conv", "GridSample"])


def _embedding(builder: Builder) -> None:
    """Embeddings [N, T, D], a layer over D, and an activation."""
    ids = builder.op("Cast", ["x"], "ids", to=TensorProto.INT64)
    rows = builder.op("Gather", [builder.weight("table", 9, 5), ids], "rows")
    builder.op("Transpose", [rows], "t", perm=[0, 2, 1])
    builder.op("Relu", [builder.normalize("t", "n", 5)], "y")


def test_a_layer_behind_an_embedding_goes_into_the_table() -> None:
    builder = Builder(9)
    _embedding(builder)
    folds(builder, (2, 3), ["Cast", "Gather", "Transpose", "Relu"])


def test_a_table_that_a_caller_may_override_is_left() -> None:
    builder = Builder(9)
    _embedding(builder)
    model = builder.model({"x": ["N", 3]}, ["y"])
    model.graph.input.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, [9, 5]))
    assert fold(model).report.folded == 0
