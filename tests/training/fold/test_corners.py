"""Corners that a search over random graphs found: each was wrong, invalid or raised once."""

from math import inf

import numpy as np
import onnx
import pytest
import torch

from tests.folds import equal
from tests.graphs import Builder
from training.fold import fold, prove
from training.fold.float64 import evaluate

ROWS = np.random.default_rng(3).standard_normal((4, 4, 6)).astype(np.float32)


def _two_convolutions(builder: Builder) -> str:
    wide = builder.op("Conv", ["x", builder.weight("w3", 4, 4, 3)], "a", pads=[1, 1])
    point = builder.op("Conv", ["x", builder.weight("w1", 4, 4, 1)], "b")
    return builder.op("Add", [wide, point], "sum")


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Sum"])
def test_a_constant_that_raises_the_rank_is_not_merged(
    op_type: str, shape: tuple[int, ...]
) -> None:
    builder = Builder(1)
    total = _two_convolutions(builder)
    builder.op(op_type, [total, builder.weight("c", *shape)], "y")
    model = builder.model({"x": ["N", 4, 6]}, ["y"])
    equal(model, fold(model).model, {"x": ROWS})


def test_an_addend_that_raises_the_rank_keeps_constants_off_the_channels() -> None:
    """The constant lies along what is the convolution's batch, which has as many rows here."""
    builder = Builder(2)
    total = builder.op("Add", [_two_convolutions(builder), "more"], "raised")
    builder.op("Add", [total, builder.weight("c", 1, 4, 1, 1)], "y")
    model = builder.model({"x": [4, 4, 6], "more": [2, 4, 4, 6]}, ["y"])
    more = np.random.default_rng(4).standard_normal((2, 4, 4, 6)).astype(np.float32)
    equal(model, fold(model).model, {"x": ROWS, "more": more})


def test_an_operator_that_a_line_undoes_stays_where_it_computes_an_output() -> None:
    """Neg(-x) is x, but its name is the network's output."""
    builder = Builder(3)
    rectified = builder.op("Relu", ["x"], "r")
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    for name, array in (("s", -ones), ("b", zeros), ("m", zeros), ("v", ones)):
        builder.constant(name, array)
    layer = builder.op("BatchNormalization", [rectified, "s", "b", "m", "v"], "n", epsilon=0.0)
    builder.op("Neg", [layer], "y")
    builder.op("Conv", [layer, builder.weight("w", 3, 4, 1)], "z")
    model = builder.model({"x": ["N", 4, 6]}, ["y", "z"])
    equal(model, fold(model).model, {"x": ROWS})


def test_a_file_of_ir_version_3_gets_one_that_allows_its_initializers() -> None:
    builder = Builder(4)
    for name, size in (("w", (4, 4, 3)),):
        value = onnx.numpy_helper.from_array(builder.random.standard_normal(size).astype("f4"))
        builder.nodes.append(onnx.helper.make_node("Constant", [], [name], value=value))
    conv = builder.op("Conv", ["x", "w"], "c")
    for name in ("s", "b", "m", "v"):
        ones = onnx.numpy_helper.from_array(np.ones(4, np.float32))
        builder.nodes.append(onnx.helper.make_node("Constant", [], [name], value=ones))
    builder.op("BatchNormalization", [conv, "s", "b", "m", "v"], "y")
    model = builder.model({"x": ["N", 4, 6]}, ["y"], 8)
    model.ir_version = 3
    folded = fold(model)
    assert folded.report.folded == 1
    assert folded.model.ir_version == 4
    equal(model, folded.model, {"x": ROWS})


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_a_global_maximum_is_over_all_positions(rank: int) -> None:
    builder = Builder(5)
    conv = builder.op("Conv", ["x", builder.weight("w", 4, 4, *[1] * (rank - 2))], "c")
    builder.normalize(conv, "n", 4)
    builder.op("GlobalMaxPool", ["n"], "y")
    model = builder.model({"x": ["N", 4, *[3] * (rank - 2)]}, ["y"])
    rows = builder.random.standard_normal((2, 4, *[3] * (rank - 2))).astype(np.float32)
    values = evaluate(model, {"x": rows})
    maximum = torch.from_numpy(values["n"]).flatten(2).amax(2)
    assert np.array_equal(values["y"].reshape(2, 4), maximum.numpy())
    proof = prove(model, fold(model).model, {"x": rows})
    assert proof.passed
    assert proof.error < inf
