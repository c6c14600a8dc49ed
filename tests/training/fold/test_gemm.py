"""Gemm → BatchNormalization: fires, equals, refuses. The oracle is NumPy in float64."""

from typing import Any

import numpy as np
import pytest

from tests.graphs import Builder, channel_error, normalized, operators, run
from training.fold import fold

FLOAT32 = 2e-6  # 32 unit roundoffs; the sums have 7 products
ROWS, DEPTH, COLUMNS = 5, 7, 4


def _network(c_shape: tuple[int, ...] | None, **attributes: Any) -> tuple[Builder, Any, Any, Any]:
    """Builder, model, the input and the expected output."""
    builder = Builder(sum(map(ord, str((c_shape, attributes)))))
    transposed = attributes.get("transB", 0)
    b = builder.weight("B", *((COLUMNS, DEPTH) if transposed else (DEPTH, COLUMNS)))
    inputs = ["x", b] if c_shape is None else ["x", b, builder.weight("C", *c_shape)]
    builder.op("Gemm", inputs, "g", name="gemm", **attributes)
    builder.normalize("g", "y", COLUMNS)
    shape = (DEPTH, ROWS) if attributes.get("transA", 0) else (ROWS, DEPTH)
    model = builder.model({"x": shape}, ["y"])
    x = builder.random.standard_normal(shape).astype(np.float32)
    a, wide = x.astype(np.float64), {k: v.astype(np.float64) for k, v in builder.constants.items()}
    product = (a.T if attributes.get("transA", 0) else a) @ (
        wide["B"].T if transposed else wide["B"]
    )
    alpha, beta = (float(np.float32(attributes.get(n, 1.0))) for n in ("alpha", "beta"))
    result = alpha * product + (beta * wide["C"] if c_shape is not None else 0)
    return builder, model, x, normalized(result, builder.statistics("y"))


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("c_shape", [None, (), (1,), (COLUMNS,), (1, 1), (1, COLUMNS)], ids=str)
@pytest.mark.parametrize("factors", [{}, {"alpha": 0.3, "beta": -2.5}, {"beta": 0.0}], ids=str)
def test_every_form_takes_the_line_in(
    transposed: tuple[int, int], c_shape: tuple[int, ...] | None, factors: dict[str, float]
) -> None:
    _, model, x, expected = _network(c_shape, transA=transposed[0], transB=transposed[1], **factors)
    folded = fold(model).model
    assert operators(folded) == ["Gemm"]
    assert channel_error(expected, run(folded, x=x)[0]) < FLOAT32


@pytest.mark.parametrize("c_shape", [(ROWS, 1), (ROWS, COLUMNS)], ids=str)
def test_a_bias_that_differs_by_row_takes_the_line_in(c_shape: tuple[int, ...]) -> None:
    _, model, x, expected = _network(c_shape, beta=0.5)
    folded = fold(model).model
    assert operators(folded) == ["Gemm"]
    assert channel_error(expected, run(folded, x=x)[0]) < FLOAT32


def test_a_constant_on_the_left_is_refused() -> None:
    builder = Builder()
    builder.op("Gemm", [builder.weight("A", ROWS, DEPTH), "x"], "g", name="gemm")
    builder.normalize("g", "y", COLUMNS)
    refusal = fold(builder.model({"x": [DEPTH, COLUMNS]}, ["y"])).report.layers[0].refusal
    assert refusal is not None
    assert "the weight B of Gemm 'gemm' 'x' is a graph input, not a constant" in refusal
