"""Constants of a fold: found behind other nodes, and copied where something else reads them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.folds import equal
from tests.graphs import Builder, constants, hostile_statistics, operators
from tests.training.fold.convolutions import C, convolution, image, network, same
from training.fold import fold


def test_parameters_behind_constant_nodes_and_identities_are_read_and_removed() -> None:
    builder = Builder()
    statistics = hostile_statistics(C, builder.random)
    convolution(builder)
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
    model = network(builder, "y")
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    assert set(constants(result.model)) == {"w", "c.bias"}
    same(model, result, builder)


def test_a_weight_behind_an_identity_is_read() -> None:
    builder = Builder()
    builder.op("Identity", [builder.weight("w0", C, C, 3, 3)], "w")
    builder.op("Conv", ["x", "w"], "c")
    builder.normalize("c", "y", C)
    model = network(builder, "y")
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    same(model, result, builder)


def test_a_weight_used_twice_is_copied_not_changed() -> None:
    builder = Builder()
    builder.normalize(convolution(builder, "c1"), "y", C)
    convolution(builder, "z")
    model = network(builder, "y", "z")
    result = fold(model)
    assert operators(result.model) == ["Conv", "Conv"]
    assert np.array_equal(constants(result.model)["w"], builder.constants["w"])
    assert set(constants(result.model)) == {"w", "w.folded", "c1.bias"}
    same(model, result, builder)


def test_a_module_called_twice_folds_twice() -> None:
    """One weight, one set of statistics, two places: nothing may be folded in twice."""
    builder = Builder()
    first = builder.normalize(convolution(builder, "c1"), "n", C)
    convolution(builder, "c2", data=first)
    names = [f"n.{p}" for p in ("scale", "bias", "mean", "var")]
    builder.op("BatchNormalization", ["c2", *names], "y")
    model = network(builder, "y")
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.metadata_props.add(key="foldserve.layer", value="n")
    result = fold(model)
    assert operators(result.model) == ["Conv", "Conv"]
    assert [layer.name for layer in result.report.layers] == ["n", "n#2"]
    same(model, result, builder)


def test_a_constant_that_is_also_an_output_is_copied() -> None:
    builder = Builder()
    builder.normalize(convolution(builder), "y", C)
    model = network(builder, "y")
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [C, C, 3, 3]))
    folded = fold(model).model
    assert operators(folded) == ["Conv"]
    assert np.array_equal(constants(folded)["w"], builder.constants["w"])


def test_a_constant_with_a_second_reader_is_not_changed_for_it() -> None:
    builder = Builder(9)
    weight = builder.weight("k", C, 1, 1)
    total = builder.op("Add", [builder.op("Mul", ["x", weight], "s"), weight], "a")
    builder.op("Add", [builder.normalize(total, "n", C), weight], "y")
    model = network(builder, "y")
    result = fold(model)
    assert operators(result.model) == ["Mul", "Add", "Add"]
    equal(model, result.model, {"x": image(builder)})
