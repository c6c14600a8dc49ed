"""A layer before an LSTM, GRU or RNN: into its weights of the input, and the answer stays."""

from typing import Any

import numpy as np
import pytest

from tests.folds import refusal
from tests.graphs import Builder, constants, operators, run
from training.fold import FoldResult, fold

C, T, HIDDEN = 4, 5, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _recurrent(
    builder: Builder, op_type: str, data: str, biased: bool = True, **attributes: Any
) -> str:
    """[N, C, T] normalized by 'n', transposed to steps, and read."""
    rows = GATES[op_type] * HIDDEN
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    order = [0, 2, 1] if attributes.get("layout") else [2, 0, 1]
    inputs = [builder.op("Transpose", [data], "t", perm=order)]
    inputs += [builder.weight("w", directions, rows, C)]
    inputs += [builder.weight("r", directions, rows, HIDDEN)]
    inputs += [builder.weight("b", directions, 2 * rows)] if biased else []
    return builder.op(op_type, inputs, "y", hidden_size=HIDDEN, **attributes)


def _layer(builder: Builder) -> str:
    statistics = {
        "scale": builder.random.standard_normal(C),
        "bias": builder.random.standard_normal(C),
        "mean": builder.random.standard_normal(C),
        "var": builder.random.uniform(0.1, 9, C),
    }
    small = {name: array.astype("float32") for name, array in statistics.items()}
    return builder.normalize(builder.op("Relu", ["x"], "a"), "n", small)


def _folds(builder: Builder, left: list[str], opset: int = 17) -> FoldResult:
    """Against ONNX Runtime's answer of the unfolded network: the statistics are moderate."""
    model = builder.model({"x": ["N", C, T]}, ["y"], opset)
    result = fold(model)
    assert operators(result.model) == left, result.report.layers
    x = builder.random.standard_normal((2, C, T)).astype(np.float32)
    (before,), (after,) = run(model, x=x), run(result.model, x=x)
    np.testing.assert_allclose(after, before, atol=1e-5)
    return result


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op_type", GATES)
def test_the_weights_of_the_input_take_the_line(op_type: str, direction: str, biased: bool) -> None:
    builder = Builder(1)
    _recurrent(builder, op_type, _layer(builder), biased, direction=direction)
    result = _folds(builder, ["Relu", "Transpose", op_type])
    assert result.report.layers[0].rule == f"before {op_type.lower()}"


def test_a_gru_that_resets_behind_the_product() -> None:
    builder = Builder(2)
    _recurrent(builder, "GRU", _layer(builder), linear_before_reset=1)
    _folds(builder, ["Relu", "Transpose", "GRU"])


def test_rows_first() -> None:
    """ONNX Runtime has no kernel for layout=1; the same numbers with the axes exchanged."""
    builder, usual = Builder(3), Builder(3)
    _recurrent(builder, "LSTM", _layer(builder), layout=1)
    _recurrent(usual, "LSTM", _layer(usual))
    ours, expected = (
        constants(fold(b.model({"x": ["N", C, T]}, ["y"])).model) for b in (builder, usual)
    )
    assert ours.keys() == expected.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], expected[name])


def test_a_line_of_the_steps_is_refused() -> None:
    builder = Builder(4)
    data = builder.normalize(builder.op("Relu", ["x"], "a"), "n", C)
    inputs = [builder.weight("w", 1, HIDDEN, T), builder.weight("r", 1, HIDDEN, HIDDEN)]
    builder.op("RNN", [data, *inputs], "y", hidden_size=HIDDEN)
    assert "whose channels are axis 2" in refusal(builder, (2, C, T))


def test_a_weight_that_is_no_constant_is_refused() -> None:
    builder = Builder(5)
    weight = builder.op("RandomNormal", [], "w", shape=[1, HIDDEN, C])
    data = builder.op("Transpose", [_layer(builder)], "t", perm=[2, 0, 1])
    builder.op("RNN", [data, weight, builder.weight("r", 1, HIDDEN, HIDDEN)], "y", hidden_size=3)
    assert "'w' is computed by RandomNormal" in refusal(builder, (2, C, T))
