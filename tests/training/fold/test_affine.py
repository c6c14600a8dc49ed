"""Reading a normalization layer: its line, its name, and when it is no line."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.graphs import Builder, hostile_statistics
from training.fold import Normalization, Refusal, read_normalization
from training.graph import layer_name, unique

C = 5


def _node(opset: int = 17, **attributes: Any) -> ir.Node:
    builder = Builder()
    builder.normalize("x", "y", C, **attributes)
    return ir.from_proto(builder.model({"x": ["N", C, 2]}, ["y"], opset)).graph.node(0)


def _refused(node: ir.Node) -> str:
    read = read_normalization(node)
    assert isinstance(read, Refusal)
    return read.reason


@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("opset", [7, 8, 9, 13, 14, 15, 17, 22])
def test_the_line_is_the_formula_in_float64(opset: int, epsilon: float) -> None:
    read = read_normalization(_node(opset, epsilon=epsilon))
    assert isinstance(read, Normalization)
    scale, bias, mean, var = (
        a.astype(np.float64) for a in hostile_statistics(C, np.random.default_rng(0)).values()
    )
    multiplier = scale / np.sqrt(var + float(np.float32(epsilon)))
    # The same operations in float64; only their order might differ.
    np.testing.assert_allclose(read.multiplier, multiplier, rtol=1e-15, atol=0)
    np.testing.assert_allclose(read.shift, bias - mean * multiplier, rtol=1e-14, atol=0)
    assert read.multiplier.dtype == np.float64
    assert read.var.dtype == np.float32
    assert (read.channels, read.name, read.operator) == (C, "y", "BatchNormalization")


def test_training_mode_is_refused() -> None:
    names = ["x", "y.scale", "y.bias", "y.mean", "y.var"]
    node = ir.from_proto(_training_model(names, 17, training_mode=1)).graph.node(0)
    assert _refused(node) == "training_mode=1: it normalizes by the batch's own statistics"


@pytest.mark.parametrize("opset", [8, 9, 13])
def test_several_outputs_are_training_before_opset_14(opset: int) -> None:
    names = ["x", "y.scale", "y.bias", "y.mean", "y.var"]
    node = ir.from_proto(_training_model(names, opset)).graph.node(0)
    assert _refused(node) == "3 outputs: it normalizes by the batch's own statistics"


def _training_model(names: list[str], opset: int, **attributes: Any) -> Any:
    builder = Builder()
    builder.normalize("x", "y", C)
    model = builder.model({"x": ["N", C, 2]}, ["y"], opset)
    outputs = ["y", "y.running_mean", "y.running_var"]
    trained = helper.make_node("BatchNormalization", names, outputs, "y", **attributes)
    model.graph.node[0].CopyFrom(trained)
    return model


def test_statistics_per_position_are_refused() -> None:
    assert _refused(_node(8, spatial=0)).startswith("spatial=0")


def test_an_old_opset_is_refused() -> None:
    builder = Builder()
    builder.normalize("x", "y", C)
    model = builder.model({"x": ["N", C, 2]}, ["y"], 7)
    model.opset_import[0].version = 6
    assert _refused(ir.from_proto(model).graph.node(0)).startswith("opset 6 is older than 7")


@pytest.mark.parametrize("parameter", ["scale", "bias", "mean", "var"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_that_is_not_finite_is_refused_with_its_value(
    parameter: str, value: float
) -> None:
    builder = Builder()
    statistics = hostile_statistics(C, builder.random)
    statistics[parameter][3] = value
    builder.normalize("x", "y", statistics)
    model = builder.model({"x": ["N", C, 2]}, ["y"])
    assert _refused(ir.from_proto(model).graph.node(0)) == f"{parameter}[3] is {value}"


@pytest.mark.parametrize(("var", "epsilon"), [(-1.0, 1e-5), (-1e-7, 1e-5), (0.0, 0.0)])
def test_a_variance_that_is_none_is_refused_with_its_value(var: float, epsilon: float) -> None:
    builder = Builder()
    statistics = hostile_statistics(C, builder.random)
    statistics["var"][2] = var
    builder.normalize("x", "y", statistics, epsilon=epsilon)
    model = builder.model({"x": ["N", C, 2]}, ["y"])
    assert (
        _refused(ir.from_proto(model).graph.node(0))
        == f"var[2] is {var:g} with epsilon {epsilon:g}"
    )


def test_a_parameter_that_is_given_at_run_time_is_refused() -> None:
    builder = Builder()
    builder.normalize("x", "y", C)
    del builder.constants["y.mean"]
    model = builder.model({"x": ["N", C, 2], "y.mean": [C]}, ["y"])
    assert _refused(ir.from_proto(model).graph.node(0)) == (
        "mean 'y.mean' is a graph input, not a constant"
    )


@pytest.mark.parametrize(
    ("metadata", "mean", "expected"),
    [
        ({"foldserve.layer": "stem.bn"}, "stem.1.running_mean", "stem.bn"),
        ({"pkg.torch.onnx.name_scopes": "['', 'f', 'f.1', 'batch_norm']"}, "m", "f.1"),
        ({"pkg.torch.onnx.name_scopes": "['', 'batch_norm']"}, "f.running_mean", "f"),
        ({"pkg.torch.onnx.name_scopes": "__import__('os')"}, "m", "node"),
        ({}, "stem.1.running_mean", "stem.1"),
        ({}, "block/bn/moving_mean:0", "block/bn"),
        ({}, "running_mean", "node"),
    ],
)
def test_a_layer_has_its_author_s_name(metadata: dict[str, str], mean: str, expected: str) -> None:
    inputs = [ir.Value(name=name) for name in ("x", "scale", "bias", mean, "var")]
    node = ir.Node("", "BatchNormalization", inputs, name="node", metadata_props=metadata)
    assert layer_name(node) == expected


def test_equal_names_are_told_apart() -> None:
    assert unique(["a", "a", "b"]) == ["a", "a#2", "b"]
    assert unique(["a", "a", "a#2", "b", "a"]) == ["a", "a#3", "a#2", "b", "a#4"]


def test_the_default_epsilon_is_a_float32_as_an_attribute_is() -> None:
    builder = Builder()
    builder.normalize("x", "y", 4)
    (node,) = ir.from_proto(builder.model({"x": ["N", 4]}, ["y"])).graph
    read = read_normalization(node)
    assert isinstance(read, Normalization)
    assert read.epsilon == float(np.float32(1e-5))
