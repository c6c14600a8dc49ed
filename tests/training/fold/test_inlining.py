"""Local functions, as older exports of PyTorch hold every module: inlined, then folded."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.folds import equal
from tests.graphs import PARAMETERS, Builder, operators
from training.fold import fold
from training.fold.float64 import evaluate

C = 4
IMPORTS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
STATISTICS = list(PARAMETERS)


def node(op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    domain = "own" if op_type in ("Norm", "Filter", "Block") else ""
    return helper.make_node(op_type, inputs, outputs, domain=domain, **attributes)


def norm(opset: int = 17) -> onnx.FunctionProto:
    body = [node("BatchNormalization", ["x", *STATISTICS], ["y"], name="n0")]
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function("own", "Norm", ["x", *STATISTICS], ["y"], body, opsets)


def filtered() -> onnx.FunctionProto:
    """A convolution whose padding is the caller's, in a function of its own."""
    body = node("Conv", ["x", "w"], ["y"], name="n0")
    body.attribute.add(name="pads", ref_attr_name="pads", type=onnx.AttributeProto.INTS)
    return helper.make_function("own", "Filter", ["x", "w"], ["y"], [body], IMPORTS[:1], ["pads"])


def block() -> onnx.FunctionProto:
    """Functions within a function, which gives its input back too."""
    body = [
        node("Filter", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
        node("Norm", ["c", *STATISTICS], ["y"], name="bn"),
    ]
    inputs = ["x", "w", *STATISTICS]
    return helper.make_function("own", "Block", inputs, ["y", "x"], body, IMPORTS)


def network(
    nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto], outputs: list[str]
) -> onnx.ModelProto:
    builder = Builder()
    for k in range(2):
        builder.weight(f"w{k}", C, C, 3, 3)
        builder.normalize("x", f"bn{k}", C)
    held = [numpy_helper.from_array(a, name) for name, a in builder.constants.items()]
    x, *ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", C, 6, 6])
        for name in ("x", *outputs)
    )
    graph = helper.make_graph(nodes, "graph", [x], ends, held)
    model = helper.make_model(graph, functions=functions, opset_imports=IMPORTS, ir_version=8)
    onnx.checker.check_model(model)
    return model


def parameters(k: int) -> list[str]:
    return [f"bn{k}.{name}" for name in PARAMETERS]


def test_functions_in_functions_are_inlined_and_their_layers_folded() -> None:
    nodes = [
        node("Block", ["x", "w0", *parameters(0)], ["a", "same"], name="block0"),
        node("Relu", ["a"], ["r"]),
        node("Block", ["r", "w1", *parameters(1)], ["b", "other"], name="block1"),
        node("Add", ["b", "same"], ["y"]),
    ]
    model = network(nodes, [norm(), filtered(), block()], ["y", "other"])
    before = model.SerializeToString(deterministic=True)
    result = fold(model)
    assert model.SerializeToString(deterministic=True) == before
    assert operators(result.model) == ["Conv", "Relu", "Conv", "Add"]
    assert not result.model.functions
    assert [entry.domain for entry in result.model.opset_import] == [""]
    assert [layer.name for layer in result.report.layers] == ["block0/bn/n0", "block1/bn/n0"]
    assert [layer.folded_into for layer in result.report.layers] == [
        "block0/conv/n0",
        "block1/conv/n0",
    ]
    x = np.random.default_rng(0).standard_normal((2, C, 6, 6)).astype(np.float32)
    equal(model, result.model, {"x": x})


def test_the_proof_evaluates_functions_in_whatever_order_they_are_listed() -> None:
    inputs = ["x", "w0", *(f"bn0.{name}" for name in PARAMETERS)]
    functions, x = [norm(), filtered(), block()], np.ones((2, C, 6, 6), np.float32)
    first, second = (
        evaluate(network([node("Block", inputs, ["y", "z"])], order, ["y"]), {"x": x})["y"]
        for order in (functions, functions[::-1])
    )
    assert np.array_equal(first, second)


def test_a_layer_folds_into_what_a_function_holds() -> None:
    nodes = [
        node("Filter", ["x", "w0"], ["c"], name="conv", pads=[1] * 4),
        node("BatchNormalization", ["c", *parameters(0)], ["y"], name="bn"),
    ]
    result = fold(network(nodes, [filtered()], ["y"]))
    assert operators(result.model) == ["Conv"]


def test_a_function_of_another_opset_is_left() -> None:
    result = fold(network([node("Norm", ["x", *parameters(0)], ["y"])], [norm(16)], ["y"]))
    assert [function.name for function in result.model.functions] == ["Norm"]
    assert [layer.refusal for layer in result.report.layers] == [
        "it is inside the function 'Norm', where nothing is folded"
    ]


def test_functions_of_a_network_without_layers_are_left() -> None:
    model = network([node("Filter", ["x", "w0"], ["y"], pads=[1] * 4)], [filtered()], ["y"])
    assert [function.name for function in fold(model).model.functions] == ["Filter"]
