"""Branches that meet in a Concat, an Add or a Split before a layer: fires, equals, refuses."""

import numpy as np
import pytest
from onnx import helper

from tests.folds import equal, folds, refusal
from tests.graphs import Builder, operators
from training.fold import fold

C = 4
IMAGE = (2, C, 6, 6)


def _conv(builder: Builder, name: str, data: str = "x", out: int = C, bias: bool = False) -> str:
    inputs = [data, builder.weight(f"{name}.w", out, C, 1, 1)]
    return builder.op("Conv", inputs + [builder.weight(f"{name}.b", out)] * bias, name)


def test_each_part_of_a_concatenation_takes_its_share() -> None:
    """A constant part as well."""
    builder = Builder(1)
    parts = [_conv(builder, "a", out=3), _conv(builder, "b", out=5, bias=True)]
    parts.append(builder.weight("k", 2, 2, 6, 6))
    builder.normalize(builder.op("Concat", parts, "j", axis=1), "y", 10)
    model = builder.model({"x": list(IMAGE)}, ["y"])
    result = fold(model)
    assert operators(result.model) == ["Conv", "Conv", "Concat"]
    assert result.report.layers[0].rule == "conv"
    equal(model, result.model, {"x": builder.random.standard_normal(IMAGE).astype(np.float32)})


def test_a_concatenation_along_the_rows_of_the_image_takes_the_line_in_each_part() -> None:
    builder = Builder(1)
    builder.normalize(
        builder.op("Concat", [_conv(builder, "a"), _conv(builder, "b")], "j", axis=2), "y", C
    )
    folds(builder, IMAGE, ["Conv", "Conv", "Concat"])


def test_a_part_with_another_reader_is_refused() -> None:
    builder = Builder(1)
    joined = builder.op("Concat", [_conv(builder, "a"), "x"], "j", axis=1)
    builder.normalize(joined, "y", 2 * C)
    assert "'x' is the network's input" in refusal(builder, IMAGE)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Sum"])
def test_every_branch_of_a_sum_is_scaled_and_one_is_shifted(op_type: str) -> None:
    builder = Builder(1)
    # Different data: convolutions of the same data in a sum are merged before rules are tried.
    activations = ["Relu", "Tanh", "Sigmoid"][: 3 if op_type == "Sum" else 2]
    branches = [
        _conv(builder, f"c{name}", data=builder.op(name, ["x"], name)) for name in activations
    ]
    builder.normalize(builder.op(op_type, branches, "j"), "y", C)
    left = [operator for name in activations for operator in (name, "Conv")]
    result = folds(builder, IMAGE, [*left, op_type])
    names = [node.metadata_props for node in result.model.graph.node if node.op_type == "Conv"]
    assert all(properties[0].value == '["y"]' for properties in names)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize("op_type", ["Add", "Sub"])
def test_the_branch_that_can_takes_the_shift(op_type: str, order: tuple[int, int]) -> None:
    """A MatMul of three dimensions has no bias; the convolution has one."""
    builder = Builder(1)
    product = builder.op("MatMul", [builder.weight("m", C, C), "x"], "p")
    conv = builder.op("Conv", ["x", builder.weight("w", C, C, 1)], "c")
    builder.normalize(builder.op(op_type, [(product, conv)[i] for i in order], "j"), "y", C)
    folds(builder, (2, C, 5), ["MatMul", "Conv", op_type])


def test_a_branch_that_is_read_elsewhere_is_refused() -> None:
    builder = Builder(1)
    first = _conv(builder, "a")
    second = _conv(builder, "b", data=builder.op("Relu", [first], "r"))
    builder.normalize(builder.op("Add", [first, second], "j"), "y", C)
    assert "Conv 'a.node' also feeds Relu 'r.node'" in refusal(builder, IMAGE)


def test_one_branch_twice_is_refused() -> None:
    builder = Builder(1)
    first = _conv(builder, "a")
    builder.normalize(builder.op("Add", [first, first], "j"), "y", C)
    assert "'a.node' also feeds Add 'j.node'" in refusal(builder, IMAGE)


def test_a_branch_with_one_channel_is_refused() -> None:
    """It broadcasts: with C multipliers it would have C channels."""
    builder = Builder(1)
    total = builder.op("Add", [_conv(builder, "a"), _conv(builder, "b", out=1)], "j")
    builder.normalize(total, "y", C)
    assert "has fewer channels than the sum" in refusal(builder, IMAGE)


def test_a_branch_for_all_places_broadcasts() -> None:
    builder = Builder(1)
    pooled = builder.op("GlobalAveragePool", [_conv(builder, "b")], "g")
    builder.normalize(builder.op("Add", [pooled, _conv(builder, "a")], "j"), "y", C)
    folds(builder, IMAGE, ["Conv", "GlobalAveragePool", "Conv", "Add"])


def test_a_layer_on_one_part_of_a_split_changes_its_channels_only() -> None:
    builder = Builder(1)
    conv = _conv(builder, "c", out=6)
    builder.constant("sizes", np.array([4, 2], np.int64))
    builder.nodes.append(helper.make_node("Split", [conv, "sizes"], ["a", "b"], axis=1))
    builder.op("Concat", ["b", builder.normalize("a", "n", 4)], "y", axis=1)
    folds(builder, IMAGE, ["Conv", "Split", "Concat"])


def test_layers_on_both_parts_of_a_split_fold_one_after_the_other() -> None:
    builder = Builder(1)
    conv = _conv(builder, "c", out=6)
    builder.nodes.append(helper.make_node("Split", [conv], ["a", "b"], axis=1))
    layers = [builder.normalize("b", "m", 3), builder.normalize("a", "n", 3)]
    builder.op("Concat", layers, "y", axis=1)
    folds(builder, IMAGE, ["Conv", "Split", "Concat"])


def test_two_ways_to_one_node_are_refused() -> None:
    builder = Builder(1)
    builder.nodes.append(
        helper.make_node("Split", [_conv(builder, "c")], ["a", "b"], axis=1, name="split")
    )
    builder.normalize(builder.op("Concat", ["b", "a"], "j", axis=1), "y", C)
    assert "would reach Split 'split' in two ways" in refusal(builder, IMAGE)
