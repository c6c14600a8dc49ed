"""Layers that no rule folds: they stay as they are, and the reason is a sentence with names."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Builder, hostile_statistics, operators
from tests.training.fold.convolutions import C, convolution, network, same
from training.fold import FoldResult, fold


def _refusals(result: FoldResult) -> list[str]:
    """Why each layer could not go backward, the first reason of all."""
    refusals = (layer.refusal or "" for layer in result.report.layers)
    return [refusal.partition("; forward: ")[0] for refusal in refusals]


def test_a_producer_with_another_reader_is_refused_by_name() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    builder.op("Relu", ["c"], "z", name="relu")
    model = network(builder, "y", "z")
    result = fold(model)
    assert result.model.graph == model.graph
    assert _refusals(result) == ["backward: Conv 'c' also feeds Relu 'relu'"]


def test_one_convolution_that_feeds_two_layers_is_refused_by_both() -> None:
    builder = Builder()
    convolution(builder)
    builder.normalize("c", "y", C)
    builder.normalize("c", "z", C)
    result = fold(network(builder, "y", "z"))
    assert _refusals(result) == [
        "backward: Conv 'c' also feeds BatchNormalization 'z'",
        "backward: Conv 'c' also feeds BatchNormalization 'y'",
    ]


def test_a_producer_that_is_an_output_is_refused() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    result = fold(network(builder, "y", "c"))
    assert _refusals(result) == ["backward: Conv 'c' also feeds the network's output"]


def test_a_producer_that_a_subgraph_captures_is_refused() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    _if(builder, helper.make_node("Relu", ["c"], ["t"], name="relu"), [])
    result = fold(network(builder, "y", "z"))
    assert _refusals(result) == ["backward: Conv 'c' also feeds Relu 'relu' in the subgraph 'then'"]


def _if(builder: Builder, node: onnx.NodeProto, initializers: list[TensorProto]) -> None:
    """An If whose branch `then` is `node`, which computes 't'; its output is 'z'."""
    shape: list[str | int | None] = ["N", C, 6, 6]
    then = helper.make_graph(
        [node], "then", [], [helper.make_tensor_value_info("t", 1, shape)], initializers
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", 1, shape)],
    )
    builder.constant("condition", np.array(True))
    builder.op("If", ["condition"], "z", then_branch=then, else_branch=other)


def test_a_layer_in_a_branch_is_listed_and_left() -> None:
    builder = Builder()
    statistics = hostile_statistics(C, builder.random)
    node = helper.make_node("BatchNormalization", ["x", *statistics], ["t"], name="inner")
    _if(builder, node, [numpy_helper.from_array(a, name) for name, a in statistics.items()])
    model = network(builder, "z")
    result = fold(model)
    assert operators(result.model) == ["If"]
    same(model, result, builder)
    (layer,) = result.report.layers
    assert (layer.name, layer.channels, layer.output) == ("inner", C, None)
    assert layer.refusal == "it is inside the subgraph 'then', where nothing is folded"


def test_an_activation_before_the_layer_is_refused_in_words() -> None:
    builder = Builder()
    builder.normalize(builder.op("Relu", [convolution(builder)], "r", name="relu"), "y", C)
    result = fold(network(builder, "y"))
    assert _refusals(result) == [
        "backward: it comes from Relu 'relu', which no line with a shift can pass"
    ]


def test_a_layer_on_the_input_is_refused_in_words() -> None:
    builder = Builder()
    builder.normalize("x", "y", C)
    assert _refusals(fold(network(builder, "y"))) == ["backward: 'x' is the network's input"]


@pytest.mark.parametrize("name", ["w", "y.mean"])
def test_an_initializer_that_a_caller_may_override_is_not_frozen(name: str) -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    model = network(builder, "y")
    shape = list(builder.constants[name].shape)
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    result = fold(model)
    (refusal,) = _refusals(result)
    assert refusal.endswith(f"'{name}' is also a graph input, so a caller may override it")
    assert result.model.graph == model.graph


def test_a_sparse_weight_is_refused_and_kept() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    model = network(builder, "y")
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    sparse = helper.make_sparse_tensor(
        values, numpy_helper.from_array(np.zeros(1, np.int64)), [C, C, 3, 3]
    )
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "w"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.sparse_initializer.append(sparse)
    result = fold(model)
    assert _refusals(result) == [
        "backward: the weight of Conv 'c' 'w' is not stored, not a dense constant"
    ]
    assert result.model.graph.sparse_initializer == model.graph.sparse_initializer


def test_other_channels_than_the_layer_has_are_refused() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    model = network(builder, "y")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("y."):
            tensor.CopyFrom(numpy_helper.from_array(np.ones(C + 1, np.float32), tensor.name))
    assert _refusals(fold(model)) == ["backward: Conv 'c' has 4 channels where the line has 5"]


def test_an_operator_of_another_domain_is_not_taken_for_ours() -> None:
    builder = Builder()
    builder.normalize(builder.op("Conv", ["x", builder.weight("w", C, C, 1, 1)], "c"), "y", C)
    model = network(builder, "y")
    model.graph.node[0].domain = "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    result = fold(model)
    assert _refusals(result) == ["backward: it comes from Conv 'c.node', which no line can pass"]


def test_a_quantization_in_between_is_refused() -> None:
    """Folding across it would move its steps."""
    builder = Builder()
    builder.constant("step", np.array(0.1, np.float32))
    builder.constant("zero", np.array(0, np.int8))
    data = convolution(builder)
    for op_type in ("QuantizeLinear", "DequantizeLinear"):
        data = builder.op(op_type, [data, "step", "zero"], op_type)
    builder.normalize(data, "y", C)
    assert _refusals(fold(network(builder, "y"))) == [
        "backward: it comes from DequantizeLinear 'DequantizeLinear.node', which no line can pass"
    ]


def test_a_quantized_weight_is_refused() -> None:
    builder = Builder()
    builder.constant("q", np.ones((C, C, 3, 3), np.int8))
    builder.constant("step", np.array(0.1, np.float32))
    builder.op("DequantizeLinear", ["q", "step"], "w", name="dequantize")
    builder.op("Conv", ["x", "w"], "c", name="conv")
    builder.normalize("c", "y", C)
    assert _refusals(fold(network(builder, "y"))) == [
        "backward: the weight of Conv 'conv' 'w' is computed by DequantizeLinear 'dequantize', "
        "not a dense constant"
    ]


def test_a_layer_on_a_constant_is_refused() -> None:
    builder = Builder()
    builder.normalize(builder.weight("k", 1, C, 1, 1), "n", C)
    builder.op("Add", ["x", "n"], "y")
    assert _refusals(fold(network(builder, "y"))) == ["backward: its input 'k' is a constant"]


def test_a_negated_constant_is_left_alone() -> None:
    builder = Builder()
    negated = builder.op("Neg", [builder.weight("k", 1, C, 1, 1)], "k.neg", name="neg")
    builder.op("Add", ["x", builder.normalize(negated, "n", C)], "y")
    assert _refusals(fold(network(builder, "y"))) == ["backward: its input 'k.neg' is a constant"]


def test_the_way_of_a_line_is_bounded() -> None:
    """A chain of reshapings longer than that: refused, in time."""
    builder = Builder(9)
    data = convolution(builder)
    for index in range(300):
        data = builder.op("Identity", [data], f"i{index}")
    builder.normalize(data, "y", C)
    assert "more than 200 operators" in _refusals(fold(network(builder, "y")))[0]
