"""The proof: what it measures, when it passes, and that it fails where it must."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Builder
from training.fold import fold, prove
from training.fold.draw import draw_inputs
from training.fold.equivalence import LIMITS, CannotProve, relative_error

C = 4


def _network(seed: int = 0) -> onnx.ModelProto:
    """Three layers: into a convolution, left behind a Relu, and into a Gemm."""
    builder = Builder(seed)
    builder.op("Conv", ["x", builder.weight("w", C, 3, 3, 3)], "c")
    builder.normalize("c", "first", C)
    builder.op("Relu", ["first"], "r")
    builder.normalize("r", "second", C)
    builder.op("Flatten", ["second"], "f")
    builder.op("Gemm", ["f", builder.weight("g", C * 36, 5)], "h")
    builder.normalize("h", "third", 5)
    return builder.model({"x": ["N", 3, 8, 8]}, ["third"])


def test_a_right_fold_passes_beside_the_network_s_own_error() -> None:
    model = _network()
    proof = prove(model, fold(model).model, rows=3)
    assert proof.passed
    assert proof.first_departure is None
    assert 0 < proof.error <= proof.limit
    assert 0 < proof.error_optimized <= proof.limit
    assert proof.limit == max(LIMITS["float32"], 2 * proof.unfolded_error)
    assert (proof.rows, proof.worst_output) == (3, "third")
    assert proof.evaluator.startswith("ONNX Runtime")


@pytest.mark.parametrize(("constant", "layer"), [("c.node.bias", "first"), ("g", "third")])
def test_a_wrong_fold_fails_and_names_the_layer(constant: str, layer: str) -> None:
    model = _network()
    folded = fold(model).model
    for tensor in folded.graph.initializer:
        if tensor.name == constant:
            wrong = numpy_helper.to_array(tensor) * np.float32(1.01)
            tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    proof = prove(model, folded)
    assert not proof.passed
    assert proof.first_departure == layer
    assert f"from {layer} on" in proof.summary()


def test_given_inputs_are_used() -> None:
    model = _network()
    x = np.zeros((7, 3, 8, 8), np.float32)
    assert prove(model, fold(model).model, {"x": x}).rows == 7


@pytest.mark.parametrize(
    ("kind", "evaluator"),
    [
        (TensorProto.FLOAT16, "ONNX Runtime"),
        (TensorProto.BFLOAT16, "float64 evaluation"),
        (TensorProto.DOUBLE, "float64 evaluation"),
    ],
)
def test_other_types_have_their_own_limit(kind: int, evaluator: str) -> None:
    builder = Builder()
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    builder.constant("w", builder.random.standard_normal((C, 3, 3, 3)).astype(dtype))
    builder.op("Conv", ["x", "w"], "c")
    builder.normalize("c", "y", {n: np.full(C, 2, dtype) for n in ("scale", "bias", "mean", "var")})
    model = builder.model({"x": ["N", 3, 8, 8]}, ["y"], opset=22, dtype=kind)
    result = fold(model)
    assert result.report.folded == 1
    proof = prove(model, result.model)
    assert proof.passed
    assert proof.evaluator.startswith(evaluator)
    assert proof.limit == LIMITS[np.dtype(dtype).name]


def test_a_network_that_cannot_be_evaluated_cannot_be_proved() -> None:
    model = _network()
    model.graph.node[1].op_type = "Unknown"
    with pytest.raises(CannotProve, match="float64"):
        prove(model, model)


def test_a_network_that_overflows_by_itself_proves_nothing() -> None:
    model = _network()
    x = np.full((2, 3, 8, 8), 1e38, np.float32)
    with pytest.raises(CannotProve, match="overflows on these inputs"):
        prove(model, fold(model).model, {"x": x})


def test_an_input_without_shape_needs_numbers() -> None:
    model = _network()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(CannotProve, match="'x' declares no shape"):
        prove(model, model)


def test_the_error_is_relative_to_the_channel() -> None:
    reference = np.array([[100.0, 1.0], [50.0, 0.5]])
    assert relative_error(reference, reference + np.array([[0, 0], [0, 0.01]])) == pytest.approx(
        0.01
    )
    assert relative_error(reference, reference + np.array([[0, 0], [1, 0]])) == pytest.approx(0.01)


def test_a_quiet_channel_is_measured_against_a_share_of_the_loudest() -> None:
    reference = np.array([[100.0, 0.0]])
    assert relative_error(reference, reference + np.array([[0, 1e-3]])) == pytest.approx(1e-2)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_infinitely_wrong(wrong: float) -> None:
    assert relative_error(np.ones((2, 3)), np.full((2, 3), wrong)) == np.inf
    assert relative_error(np.full((2, 3), wrong), np.ones((2, 3))) == np.inf
    assert relative_error(np.full((2, 3), wrong), np.full((2, 3), wrong)) == 0
    assert relative_error(np.ones((2, 3)), np.ones((3, 2))) == np.inf
    assert relative_error(np.zeros((2, 3)), np.ones((2, 3))) == np.inf


def test_inputs_fit_what_is_declared_and_repeat() -> None:
    model = _network()
    model.graph.input.extend(
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "length"]),
            helper.make_tensor_value_info("pixels", TensorProto.UINT8, [2, "length", None]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [C, 3, 3, 3]),
        ]
    )
    first, second = draw_inputs(model, 5), draw_inputs(model, 5)
    assert {name: array.shape for name, array in first.items()} == {
        "x": (5, 3, 8, 8),
        "ids": (5, 32),
        "pixels": (2, 32, 32),
    }
    assert [array.dtype.name for array in first.values()] == ["float32", "int64", "uint8"]
    assert all(np.array_equal(first[name], second[name]) for name in first)
