"""Weights and parameters that a network computes of constants, as raw exports do."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.folds import equal, folds, refusal
from tests.graphs import PARAMETERS, Array, Builder, hostile_statistics, operators
from training.fold import fold

C = 4
IMAGE = (2, C, 6, 6)


def _ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


def test_a_transposed_weight_and_an_expanded_bias() -> None:
    """As the PyTorch exporter writes a convolution without a bias, unoptimized."""
    builder = Builder()
    builder.op("Transpose", [builder.weight("w", 3, 3, C, C)], "w.t", perm=[3, 2, 0, 1])
    zero = builder.constant("zero", np.zeros((), np.float64))
    like = builder.op("CastLike", [zero, "x"], "zero.like")
    shape = builder.op("Shape", ["w.t"], "w.shape", start=0, end=1)
    builder.op("Conv", ["x", "w.t", builder.op("Expand", [like, shape], "b")], "c", pads=[1] * 4)
    builder.normalize("c", "y", C)
    folds(builder, IMAGE, ["Conv"], opset=18)


def test_a_normalized_weight() -> None:
    """Weight normalization: g·v/‖v‖ as nodes."""
    builder = Builder()
    norm = builder.op("ReduceL2", [builder.weight("v", C, C, 3, 3)], "norm", axes=[1, 2, 3])
    unit = builder.op("Div", ["v", norm], "unit")
    builder.op("Mul", [unit, builder.weight("g", C, 1, 1, 1)], "w")
    builder.normalize(builder.op("Conv", ["x", "w"], "c"), "y", C)
    folds(builder, IMAGE, ["Conv"])


def test_a_low_rank_weight_of_gemm() -> None:
    builder = Builder()
    low = builder.op("MatMul", [builder.weight("a", 8, 2), builder.weight("b", 2, 8)], "low")
    builder.op("Add", [builder.weight("w", 8, 8), low], "sum")
    builder.normalize(builder.op("Gemm", ["x", "sum"], "g"), "y", 8)
    folds(builder, (3, 8), ["Gemm"])


def test_parameters_behind_casts_and_reshapes_and_the_name_of_the_layer() -> None:
    builder = Builder()
    builder.op("Conv", ["x", builder.weight("w", C, C, 3, 3)], "c")
    names: list[str] = []
    for name, array in hostile_statistics(C, builder.random).items():
        stored = {"mean": "running_mean"}.get(name, name)
        held = array.astype(np.float64).reshape(1, C)
        builder.constant(f"stem.1.{stored}", held)
        builder.op("Cast", [f"stem.1.{stored}"], f"{name}.cast", to=TensorProto.FLOAT)
        names.append(builder.op("Reshape", [f"{name}.cast", _ints(builder, f"{name}.s", C)], name))
    assert tuple(names) == PARAMETERS
    builder.op("BatchNormalization", ["c", *names], "y")
    result = folds(builder, IMAGE, ["Conv"])
    assert [layer.name for layer in result.report.layers] == ["stem.1"]


def test_a_weight_that_two_computations_read_is_not_changed() -> None:
    builder = Builder()
    builder.op("Transpose", [builder.weight("w", C, C, 1, 1)], "w.t", perm=[1, 0, 2, 3])
    first = builder.normalize(builder.op("Conv", ["x", "w.t"], "c"), "n", C)
    second = builder.op("Conv", ["x", "w.t"], "d")
    builder.op("Add", [builder.op("Relu", [first], "r"), second], "y")
    folds(builder, IMAGE, ["Conv", "Conv", "Relu", "Add"])


def test_a_dequantized_weight_is_left_in_eight_bits() -> None:
    builder = Builder()
    builder.constant("q", builder.random.integers(-128, 127, (C, C, 1, 1)).astype(np.int8))
    builder.op("DequantizeLinear", ["q", builder.weight("s")], "w")
    builder.normalize(builder.op("Conv", ["x", "w"], "c"), "y", C)
    assert "'w' is computed by DequantizeLinear" in refusal(builder, IMAGE)


def test_a_random_weight_is_left() -> None:
    builder = Builder()
    builder.op("RandomNormal", [], "w", shape=[C, C, 1, 1])
    builder.normalize(builder.op("Conv", ["x", "w"], "c"), "y", C)
    assert "'w' is computed by RandomNormal" in refusal(builder, IMAGE)


def test_a_weight_computed_of_an_overridable_initializer_is_left() -> None:
    builder = Builder()
    builder.op("Transpose", [builder.weight("w", C, C, 1, 1)], "w.t", perm=[1, 0, 2, 3])
    builder.normalize(builder.op("Conv", ["x", "w.t"], "c"), "y", C)
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [C, C, 1, 1]))
    result = fold(model)
    assert operators(result.model) == ["Transpose", "Conv", "BatchNormalization"]


def test_the_original_is_not_modified_and_what_is_not_folded_keeps_its_values() -> None:
    builder = Builder()
    builder.op("Exp", [builder.weight("k", C, 1, 1)], "e")
    builder.op("Mul", ["x", "e"], "y")
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"])
    before = model.SerializeToString(deterministic=True)
    folded = fold(model).model
    assert model.SerializeToString(deterministic=True) == before
    assert operators(folded) == ["Mul"]
    (held,) = map(numpy_helper.to_array, folded.graph.initializer)
    np.testing.assert_allclose(held, np.exp(builder.constants["k"]), rtol=1e-6)


@pytest.mark.parametrize("by_slices", [False, True])
def test_a_channel_shuffle_whose_shape_is_computed(by_slices: bool) -> None:
    builder = Builder()
    builder.op("Shape", [builder.op("Conv", ["x", builder.weight("w", C, C, 1, 1)], "c")], "s")
    sizes = [_size(builder, axis, by_slices) for axis in range(4)]
    two = _ints(builder, "two", 2)
    half = builder.op("Div", [sizes[1], two], "half")
    builder.op("Concat", [sizes[0], two, half, *sizes[2:]], "split", axis=0)
    builder.op("Concat", [sizes[0], _ints(builder, "rest", -1), *sizes[2:]], "joined", axis=0)
    builder.op("Transpose", [builder.op("Reshape", ["c", "split"], "r")], "t", perm=[0, 2, 1, 3, 4])
    builder.normalize(builder.op("Reshape", ["t", "joined"], "u"), "n", C)
    model = _free(builder, builder.op("Relu", ["n"], "y"))
    result = fold(model)
    assert result.report.folded == 1
    assert "BatchNormalization" not in operators(result.model)
    x: Array = builder.random.standard_normal(IMAGE).astype(np.float32)
    equal(model, result.model, {"x": x})


def _size(builder: Builder, axis: int, by_slices: bool) -> str:
    if by_slices:
        ends = [_ints(builder, f"at{axis}.{k}", axis + k) for k in (0, 1)]
        return builder.op("Slice", ["s", *ends], f"size{axis}")
    at = builder.constant(f"at{axis}", np.array(axis))
    one = builder.op("Gather", ["s", at], f"one{axis}")
    return builder.op("Unsqueeze", [one, _ints(builder, f"axis{axis}", 0)], f"size{axis}")


def _free(builder: Builder, output: str) -> onnx.ModelProto:
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", C, "H", "W"])
        for name in ("x", output)
    ]
    held = [numpy_helper.from_array(a, n) for n, a in builder.constants.items()]
    graph = helper.make_graph(builder.nodes, "graph", sides[:1], sides[1:], held)
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)
