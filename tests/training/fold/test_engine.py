"""What is true of every fold, whichever rule does it: names, chains, directions, what stays."""

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.folds import equal
from tests.graphs import Builder, channel_error, constants, hostile_statistics, operators, run
from tests.training.fold.convolutions import FLOAT32, C, convolution, network, same
from training.fold import RULES, Refusal, fold, folded_layers
from training.fold.engine import find_layers, fold_layers
from training.fold.equivalence import relative_error
from training.fold.float64 import evaluate
from training.fold.rules.base import Change, Constant, Edit, Match, Rewritten, Site
from training.fold.rules.checks import exact
from training.graph import is_op, sole_consumer


def test_the_input_is_not_modified() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    model = network(builder, "y")
    before = model.SerializeToString(deterministic=True)
    first, second = fold(model), fold(model)
    assert model.SerializeToString(deterministic=True) == before
    assert first.model == second.model


def test_names_documentation_and_value_info_stay() -> None:
    builder = Builder()
    builder.op("Relu", [builder.normalize(convolution(builder), "n", C)], "y", name="relu")
    model = network(builder, "y")
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


def test_a_fresh_name_avoids_those_that_are_taken() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "n", C)
    builder.op("Relu", ["n"], "c.bias")
    model = network(builder, "c.bias")
    result = fold(model)
    assert operators(result.model) == ["Conv", "Relu"]
    assert set(constants(result.model)) == {"w", "c.bias_1"}
    same(model, result, builder)


def test_two_layers_in_a_row_fold_with_one_rounding() -> None:
    builder = Builder(5)
    statistics = {
        name: np.full(C, value, np.float32)
        for name, value in (("scale", 0.1), ("bias", 0.3), ("mean", 0.7), ("var", 3.0))
    }
    builder.normalize(builder.normalize(convolution(builder), "n1", statistics), "y", statistics)
    result = fold(network(builder, "y"))
    assert operators(result.model) == ["Conv"]
    assert [layer.output for layer in result.report.layers] == [None, "y"]
    (node,) = result.model.graph.node
    assert folded_layers({p.key: p.value for p in node.metadata_props}) == ["n1", "y"]
    first, second = result.normalizations
    exact = builder.constants["w"].astype(np.float64) * first.multiplier[0] * second.multiplier[0]
    assert np.array_equal(constants(result.model)["w"], exact.astype(np.float32))


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
    convolution(builder, "y")
    model = network(builder, "y")
    result = fold(model)
    assert result.model.graph == model.graph
    assert result.report.layers == ()


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
