"""What is true of every fold, whichever rule does it: sharing, names, chains, what stays."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.folds import equal
from tests.graphs import (
    Array,
    Builder,
    channel_error,
    constants,
    hostile_statistics,
    operators,
    run,
)
from training.fold import RULES, FoldResult, Refusal, fold, folded_layers
from training.fold.engine import find_layers, fold_layers
from training.fold.equivalence import relative_error
from training.fold.float64 import evaluate
from training.fold.rules.base import Change, Constant, Edit, Match, Rewritten, Site
from training.fold.rules.checks import exact
from training.graph import is_op, sole_consumer

FLOAT32 = 2e-6  # 32 unit roundoffs
C = 4


def _conv(builder: Builder, output: str = "c", data: str = "x", weight: str = "w") -> str:
    if weight not in builder.constants:
        builder.weight(weight, C, C, 3, 3)
    return builder.op("Conv", [data, weight], output, name=output, pads=[1, 1, 1, 1])


def _model(builder: Builder, *outputs: str, opset: int = 17) -> onnx.ModelProto:
    return builder.model({"x": ["N", C, 6, 6]}, outputs, opset)


def _x(builder: Builder) -> Array:
    return builder.random.standard_normal((2, C, 6, 6)).astype(np.float32)


def _same(model: onnx.ModelProto, result: FoldResult, builder: Builder) -> None:
    x = _x(builder)
    for before, after in zip(run(model, x=x), run(result.model, x=x), strict=True):
        assert channel_error(before.astype(np.float64), after) < FLOAT32


def _refusals(result: FoldResult) -> list[str]:
    """Why each layer could not go backward, the first reason of all."""
    refusals = (layer.refusal or "" for layer in result.report.layers)
    return [refusal.partition("; forward: ")[0] for refusal in refusals]


def test_the_input_is_not_modified() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    model = _model(builder, "y")
    before = model.SerializeToString(deterministic=True)
    first, second = fold(model), fold(model)
    assert model.SerializeToString(deterministic=True) == before
    assert first.model == second.model


def test_names_documentation_and_value_info_stay() -> None:
    builder = Builder()
    builder.op("Relu", [builder.normalize(_conv(builder), "n", C)], "y", name="relu")
    model = _model(builder, "y")
    model.doc_string, model.graph.doc_string = "model", "graph"
    model.graph.node[0].doc_string = "conv"
    helper.set_model_props(model, {"author": "test"})
    model.graph.node[0].metadata_props.add(key="kept", value="1")
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", C, 6, 6]) for name in "cn"
    )
    folded = fold(model).model
    onnx.checker.check_model(folded, full_check=True)
    conv, relu = folded.graph.node
    assert (folded.doc_string, folded.graph.doc_string, conv.doc_string) == (
        "model",
        "graph",
        "conv",
    )
    assert folded.metadata_props == model.metadata_props
    assert (conv.name, relu.name) == ("c", "relu")
    assert [*conv.output, *relu.input] == ["n", "n"]
    assert {p.key: p.value for p in conv.metadata_props} == {
        "kept": "1",
        "foldserve.folded": '["n"]',
    }
    assert [
        (info.name, len(info.type.tensor_type.shape.dim)) for info in folded.graph.value_info
    ] == [("n", 4)]
    assert set(constants(folded)) == {"w", "c.bias"}


def test_parameters_behind_constant_nodes_and_identities_are_read_and_removed() -> None:
    builder = Builder()
    statistics = hostile_statistics(C, builder.random)
    _conv(builder)
    floats = [float(v) for v in statistics["scale"]]
    builder.op("Constant", [], "scale", value_floats=floats)
    builder.op("Constant", [], "bias", value=numpy_helper.from_array(statistics["bias"]))
    builder.op(
        "Identity",
        [builder.op("Identity", [builder.constant("m0", statistics["mean"])], "m1")],
        "mean",
    )
    builder.op("Identity", [builder.constant("v0", statistics["var"])], "var")
    builder.op("BatchNormalization", ["c", "scale", "bias", "mean", "var"], "y")
    model = _model(builder, "y")
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    assert set(constants(result.model)) == {"w", "c.bias"}
    _same(model, result, builder)


def test_a_weight_behind_an_identity_is_read() -> None:
    builder = Builder()
    builder.op("Identity", [builder.weight("w0", C, C, 3, 3)], "w")
    builder.op("Conv", ["x", "w"], "c")
    builder.normalize("c", "y", C)
    model = _model(builder, "y")
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    _same(model, result, builder)


def test_a_weight_used_twice_is_copied_not_changed() -> None:
    builder = Builder()
    builder.normalize(_conv(builder, "c1"), "y", C)
    _conv(builder, "z")
    model = _model(builder, "y", "z")
    result = fold(model)
    assert operators(result.model) == ["Conv", "Conv"]
    assert np.array_equal(constants(result.model)["w"], builder.constants["w"])
    assert set(constants(result.model)) == {"w", "w.folded", "c1.bias"}
    _same(model, result, builder)


def test_a_module_called_twice_folds_twice() -> None:
    """One weight, one set of statistics, two places: nothing may be folded in twice."""
    builder = Builder()
    first = builder.normalize(_conv(builder, "c1"), "n", C)
    _conv(builder, "c2", data=first)
    names = [f"n.{p}" for p in ("scale", "bias", "mean", "var")]
    builder.op("BatchNormalization", ["c2", *names], "y")
    model = _model(builder, "y")
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.metadata_props.add(key="foldserve.layer", value="n")
    result = fold(model)
    assert operators(result.model) == ["Conv", "Conv"]
    assert [layer.name for layer in result.report.layers] == ["n", "n#2"]
    _same(model, result, builder)


def test_a_constant_that_is_also_an_output_is_copied() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    model = _model(builder, "y")
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [C, C, 3, 3]))
    folded = fold(model).model
    assert operators(folded) == ["Conv"]
    assert np.array_equal(constants(folded)["w"], builder.constants["w"])


def test_a_fresh_name_avoids_those_that_are_taken() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "n", C)
    builder.op("Relu", ["n"], "c.bias")
    model = _model(builder, "c.bias")
    result = fold(model)
    assert operators(result.model) == ["Conv", "Relu"]
    assert set(constants(result.model)) == {"w", "c.bias_1"}
    _same(model, result, builder)


def test_two_layers_in_a_row_fold_with_one_rounding() -> None:
    builder = Builder(5)
    statistics = {
        name: np.full(C, value, np.float32)
        for name, value in (("scale", 0.1), ("bias", 0.3), ("mean", 0.7), ("var", 3.0))
    }
    builder.normalize(builder.normalize(_conv(builder), "n1", statistics), "y", statistics)
    result = fold(_model(builder, "y"))
    assert operators(result.model) == ["Conv"]
    assert [layer.output for layer in result.report.layers] == [None, "y"]
    (node,) = result.model.graph.node
    assert folded_layers({p.key: p.value for p in node.metadata_props}) == ["n1", "y"]
    first, second = result.normalizations
    exact = builder.constants["w"].astype(np.float64) * first.multiplier[0] * second.multiplier[0]
    assert np.array_equal(constants(result.model)["w"], exact.astype(np.float32))


def test_a_producer_with_another_reader_is_refused_by_name() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    builder.op("Relu", ["c"], "z", name="relu")
    model = _model(builder, "y", "z")
    result = fold(model)
    assert result.model.graph == model.graph
    assert _refusals(result) == ["backward: Conv 'c' also feeds Relu 'relu'"]


def test_one_convolution_that_feeds_two_layers_is_refused_by_both() -> None:
    builder = Builder()
    _conv(builder)
    builder.normalize("c", "y", C)
    builder.normalize("c", "z", C)
    result = fold(_model(builder, "y", "z"))
    assert _refusals(result) == [
        "backward: Conv 'c' also feeds BatchNormalization 'z'",
        "backward: Conv 'c' also feeds BatchNormalization 'y'",
    ]


def test_a_producer_that_is_an_output_is_refused() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    result = fold(_model(builder, "y", "c"))
    assert _refusals(result) == ["backward: Conv 'c' also feeds the network's output"]


def test_a_producer_that_a_subgraph_captures_is_refused() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    _if(builder, helper.make_node("Relu", ["c"], ["t"], name="relu"), [])
    result = fold(_model(builder, "y", "z"))
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
    model = _model(builder, "z")
    result = fold(model)
    assert operators(result.model) == ["If"]
    _same(model, result, builder)
    (layer,) = result.report.layers
    assert (layer.name, layer.channels, layer.output) == ("inner", C, None)
    assert layer.refusal == "it is inside the subgraph 'then', where nothing is folded"


def test_an_activation_before_the_layer_is_refused_in_words() -> None:
    builder = Builder()
    builder.normalize(builder.op("Relu", [_conv(builder)], "r", name="relu"), "y", C)
    result = fold(_model(builder, "y"))
    assert _refusals(result) == [
        "backward: it comes from Relu 'relu', which no line with a shift can pass"
    ]


def test_a_layer_on_the_input_is_refused_in_words() -> None:
    builder = Builder()
    builder.normalize("x", "y", C)
    assert _refusals(fold(_model(builder, "y"))) == ["backward: 'x' is the network's input"]


@pytest.mark.parametrize("name", ["w", "y.mean"])
def test_an_initializer_that_a_caller_may_override_is_not_frozen(name: str) -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    model = _model(builder, "y")
    shape = list(builder.constants[name].shape)
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    result = fold(model)
    (refusal,) = _refusals(result)
    assert refusal.endswith(f"'{name}' is also a graph input, so a caller may override it")
    assert result.model.graph == model.graph


def test_a_sparse_weight_is_refused_and_kept() -> None:
    builder = Builder()
    builder.normalize(_conv(builder), "y", C)
    model = _model(builder, "y")
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
    builder.normalize(_conv(builder), "y", C)
    model = _model(builder, "y")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("y."):
            tensor.CopyFrom(numpy_helper.from_array(np.ones(C + 1, np.float32), tensor.name))
    assert _refusals(fold(model)) == ["backward: Conv 'c' has 4 channels where the line has 5"]


def test_an_operator_of_another_domain_is_not_taken_for_ours() -> None:
    builder = Builder()
    builder.normalize(builder.op("Conv", ["x", builder.weight("w", C, C, 1, 1)], "c"), "y", C)
    model = _model(builder, "y")
    model.graph.node[0].domain = "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    result = fold(model)
    assert _refusals(result) == ["backward: it comes from Conv 'c.node', which no line can pass"]


class _Forward:
    """A rule of the other direction: Gemm(BatchNormalization(x), B) becomes Gemm(x, B', C')."""

    name = "forward"

    def find(self, site: Site) -> Match | None:
        gemm = sole_consumer(site.output)
        return Match(site, (gemm,)) if gemm is not None and is_op(gemm, "Gemm") else None

    def check(self, match: Match) -> Refusal | None:
        return None

    def rewrite(self, match: Match) -> Change:
        (gemm,), site = match.nodes, match.site
        weight, line = exact(gemm, 1), site.line
        constants = {
            1: Constant(line.multiplier[:, np.newaxis] * weight, ir.DataType.FLOAT, axis=1),
            2: Constant(line.shift @ weight, ir.DataType.FLOAT),
        }
        edits = (Edit(gemm, constants),)
        return Change(site, edits, gemm, site.output, site.data, None, removed=(site.node,))


def test_a_rule_may_fold_forward() -> None:
    """The frame knows no direction: after Relu no rule of ours folds, but this one does."""
    builder = Builder()
    builder.normalize(builder.op("Relu", ["x"], "r"), "n", C)
    builder.op("Gemm", ["n", builder.weight("w", C, 3)], "y", name="gemm")
    model = builder.model({"x": ["N", C]}, ["y"])
    working = ir.from_proto(model)
    (layer,) = layers = find_layers(working)
    fold_layers(working, layers, [*RULES, _Forward()])
    folded = ir.to_proto(working)
    assert operators(folded) == ["Relu", "Gemm"]
    assert list(folded.graph.node[1].input) == ["r", "w", "gemm.bias"]
    assert (layer.outcome, layer.output) == (Rewritten("forward", "gemm"), None)
    x = builder.random.standard_normal((5, C)).astype(np.float32)
    expected = run(model, x=x)[0].astype(np.float64)
    assert channel_error(expected, run(folded, x=x)[0]) < FLOAT32


def test_a_network_without_layers_is_returned_as_it_is() -> None:
    builder = Builder()
    _conv(builder, "y")
    model = _model(builder, "y")
    result = fold(model)
    assert result.model.graph == model.graph
    assert result.report.layers == ()


def test_a_quantization_in_between_is_refused() -> None:
    """Folding across it would move its steps."""
    builder = Builder()
    builder.constant("step", np.array(0.1, np.float32))
    builder.constant("zero", np.array(0, np.int8))
    data = _conv(builder)
    for op_type in ("QuantizeLinear", "DequantizeLinear"):
        data = builder.op(op_type, [data, "step", "zero"], op_type)
    builder.normalize(data, "y", C)
    assert _refusals(fold(_model(builder, "y"))) == [
        "backward: it comes from DequantizeLinear 'DequantizeLinear.node', which no line can pass"
    ]


def test_a_quantized_weight_is_refused() -> None:
    builder = Builder()
    builder.constant("q", np.ones((C, C, 3, 3), np.int8))
    builder.constant("step", np.array(0.1, np.float32))
    builder.op("DequantizeLinear", ["q", "step"], "w", name="dequantize")
    builder.op("Conv", ["x", "w"], "c", name="conv")
    builder.normalize("c", "y", C)
    assert _refusals(fold(_model(builder, "y"))) == [
        "backward: the weight of Conv 'conv' 'w' is computed by DequantizeLinear 'dequantize', "
        "not a dense constant"
    ]


def test_a_layer_on_a_constant_is_refused() -> None:
    builder = Builder()
    builder.normalize(builder.weight("k", 1, C, 1, 1), "n", C)
    builder.op("Add", ["x", "n"], "y")
    assert _refusals(fold(_model(builder, "y"))) == ["backward: its input 'k' is a constant"]


def test_a_negated_constant_is_left_alone() -> None:
    builder = Builder()
    negated = builder.op("Neg", [builder.weight("k", 1, C, 1, 1)], "k.neg", name="neg")
    builder.op("Add", ["x", builder.normalize(negated, "n", C)], "y")
    assert _refusals(fold(_model(builder, "y"))) == ["backward: its input 'k.neg' is a constant"]


def test_a_layer_s_output_follows_a_shift_that_is_added_behind_it() -> None:
    """m folds into the MatMul; n goes forward into the same one and adds its shift behind."""
    builder = Builder(8)
    data = builder.normalize(builder.op("Relu", ["x"], "r"), "n", C)
    statistics = hostile_statistics(C, builder.random)
    zero = np.zeros(C, np.float32)
    product = builder.op("MatMul", [builder.weight("w", C, C), data], "p")
    builder.normalize(product, "m", statistics | {"bias": zero, "mean": zero})
    builder.op("Relu", ["m"], "y")
    model = builder.model({"x": ["N", C, 5]}, ["y"])
    result = fold(model)
    assert operators(result.model) == ["Relu", "MatMul", "Add", "Relu"]
    before, after = result.report.layers
    assert (before.output, after.output) == (None, "m")
    x = builder.random.standard_normal((2, C, 5)).astype(np.float32)
    equal(model, result.model, {"x": x})
    folded, unfolded = evaluate(result.model, {"x": x}), evaluate(model, {"x": x})
    assert relative_error(unfolded["m"], folded["m"]) < FLOAT32


def test_a_constant_with_a_second_reader_is_not_changed_for_it() -> None:
    builder = Builder(9)
    weight = builder.weight("k", C, 1, 1)
    total = builder.op("Add", [builder.op("Mul", ["x", weight], "s"), weight], "a")
    builder.op("Add", [builder.normalize(total, "n", C), weight], "y")
    model = _model(builder, "y")
    result = fold(model)
    assert operators(result.model) == ["Mul", "Add", "Add"]
    equal(model, result.model, {"x": _x(builder)})


def test_the_way_of_a_line_is_bounded() -> None:
    """A chain of reshapings longer than that: refused, in time."""
    builder = Builder(9)
    data = _conv(builder)
    for index in range(300):
        data = builder.op("Identity", [data], f"i{index}")
    builder.normalize(data, "y", C)
    assert "more than 200 operators" in _refusals(fold(_model(builder, "y")))[0]
