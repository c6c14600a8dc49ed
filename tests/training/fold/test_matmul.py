"""MatMul [→ Add] → BatchNormalization: fires, equals, refuses. The oracle is NumPy in float64."""

import numpy as np
import pytest

from tests.graphs import Builder, channel_error, normalized, operators, run
from training.fold import fold

FLOAT32 = 2e-6  # 32 unit roundoffs; the sums have 7 products
ROWS, DEPTH, COLUMNS = 5, 7, 4


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", [None, (), (1,), (COLUMNS,), (1, 1), (1, COLUMNS)], ids=str)
def test_every_addend_takes_the_line_in(shape: tuple[int, ...] | None, swapped: bool) -> None:
    builder = Builder(7)
    data = builder.op("MatMul", ["x", builder.weight("W", DEPTH, COLUMNS)], "p", name="matmul")
    if shape is not None:
        operands = [data, builder.weight("b", *shape)]
        data = builder.op("Add", operands[::-1] if swapped else operands, "a")
    builder.normalize(data, "y", COLUMNS)
    result = fold(builder.model({"x": ["N", DEPTH]}, ["y"]))
    assert operators(result.model) == (["Gemm"] if shape is None else ["MatMul", "Add"])
    assert result.report.layers[0].folded_into == "matmul"
    x = builder.random.standard_normal((ROWS, DEPTH)).astype(np.float32)
    wide = {name: array.astype(np.float64) for name, array in builder.constants.items()}
    expected = normalized(x @ wide["W"] + wide.get("b", 0), builder.statistics("y"))
    assert channel_error(expected, run(result.model, x=x)[0]) < FLOAT32


def _refusal(builder: Builder, shape: list[int | str | None]) -> str:
    layer = fold(builder.model({"x": shape}, ["y"])).report.layers[0]
    assert layer.refusal is not None
    return layer.refusal


def test_rows_are_not_taken_for_channels() -> None:
    """[N, C, K]·[K, C]: both axes have C entries, and only axis 1 is the channels."""
    builder = Builder()
    builder.op("MatMul", ["x", builder.weight("W", DEPTH, COLUMNS)], "p", name="matmul")
    builder.normalize("p", "y", COLUMNS)
    assert "the line has shape [1, 4, 1] on the product of MatMul 'matmul'" in _refusal(
        builder, ["N", COLUMNS, DEPTH]
    )


def test_a_constant_on_the_left_takes_the_line_of_its_rows() -> None:
    builder = Builder(2)
    builder.op("MatMul", [builder.weight("W", COLUMNS, DEPTH), "x"], "p", name="matmul")
    builder.normalize("p", "y", COLUMNS)
    result = fold(builder.model({"x": ["N", DEPTH, ROWS]}, ["y"]))
    assert operators(result.model) == ["MatMul", "Add"]
    x = builder.random.standard_normal((3, DEPTH, ROWS)).astype(np.float32)
    expected = normalized(builder.constants["W"].astype(np.float64) @ x, builder.statistics("y"))
    assert channel_error(expected, run(result.model, x=x)[0]) < FLOAT32


@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (ROWS, 1)], ids=str)
def test_an_addend_that_differs_by_row_takes_the_shift(shape: tuple[int, ...]) -> None:
    builder = Builder(3)
    builder.op("MatMul", ["x", builder.weight("W", DEPTH, COLUMNS)], "p")
    builder.op("Add", ["p", builder.weight("b", *shape)], "a", name="add")
    builder.normalize("a", "y", COLUMNS)
    result = fold(builder.model({"x": [ROWS, DEPTH]}, ["y"]))
    assert operators(result.model) == ["MatMul", "Add"]
    x = builder.random.standard_normal((ROWS, DEPTH)).astype(np.float32)
    wide = {name: array.astype(np.float64) for name, array in builder.constants.items()}
    expected = normalized(x @ wide["W"] + wide["b"], builder.statistics("y"))
    assert channel_error(expected, run(result.model, x=x)[0]) < FLOAT32


def test_an_addend_that_raises_the_rank_is_refused() -> None:
    """Axis 1 of the sum is then the rows of the product."""
    builder = Builder()
    builder.op("MatMul", ["x", builder.weight("W", DEPTH, COLUMNS)], "p")
    builder.op("Add", ["p", builder.weight("b", 1, 1, COLUMNS)], "a", name="add")
    builder.normalize("a", "y", ROWS)
    assert "the constant of Add 'add' has shape [1, 1, 4]" in _refusal(builder, [ROWS, DEPTH])


def test_a_residual_sum_is_refused() -> None:
    builder = Builder()
    builder.op("MatMul", ["x", builder.weight("W", DEPTH, DEPTH)], "p")
    builder.op("Add", ["x", "p"], "a", name="add")
    builder.normalize("a", "y", DEPTH)
    assert _refusal(builder, ["N", DEPTH]) == (
        "backward: 'x' is the network's input; forward: 'y' is the network's output"
    )


@pytest.mark.parametrize("depth", [7, 70])
def test_ranks_that_the_file_leaves_out_are_inferred(depth: int) -> None:
    """Small and large weights: inference is not given the large ones."""
    builder = Builder()
    hidden = builder.op("MatMul", ["x", builder.weight("V", DEPTH, depth)], "h")
    data = builder.op("Relu", [hidden], "r")
    builder.op("MatMul", [data, builder.weight("W", depth, COLUMNS)], "p")
    builder.normalize("p", "y", COLUMNS)
    model = builder.model({"x": ["N", DEPTH]}, ["y"])
    assert not model.graph.value_info
    result = fold(model)
    assert operators(result.model) == ["MatMul", "Relu", "Gemm"]
    assert not result.model.graph.value_info
