"""Activations that a multiplier passes without a shift, and comparisons of branches."""

from typing import Any

import pytest
from onnx import helper

from tests.folds import folds, refusal, rising, unshifted
from tests.graphs import Array, Builder

C = 4
IMAGE = (2, C, 6, 6)


def _conv(builder: Builder, data: str = "x", name: str = "c") -> str:
    return builder.op("Conv", [data, builder.weight(f"{name}.w", C, C, 3, 3)], name)


def _activation(builder: Builder, op_type: str, data: str) -> str:
    slope = [builder.weight("slope", C, 1, 1)] if op_type == "PRelu" else []
    return builder.op(op_type, [data, *slope], "a")


def _positive(seed: int = 0) -> dict[str, Array]:
    return unshifted(C, seed) | {"scale": rising(C, seed)["scale"]}


@pytest.mark.parametrize("op_type", ["Relu", "LeakyRelu", "PRelu", "Abs"])
def test_a_multiplier_that_is_not_negative_passes_backward(op_type: str) -> None:
    builder = Builder(1)
    builder.normalize(_activation(builder, op_type, _conv(builder)), "y", _positive())
    folds(builder, IMAGE, ["Conv", op_type])


@pytest.mark.parametrize("op_type", ["Relu", "LeakyRelu", "PRelu", "Abs"])
def test_a_multiplier_that_is_not_negative_passes_forward(op_type: str) -> None:
    builder = Builder(2)
    layer = builder.normalize(builder.op("Sigmoid", ["x"], "s"), "n", _positive())
    weight = builder.weight("w", C, C, 3, 3)
    builder.op("Conv", [_activation(builder, op_type, layer), weight], "y", pads=[1] * 4)
    folds(builder, IMAGE, ["Sigmoid", op_type, "Conv"])


@pytest.mark.parametrize(
    ("statistics", "words"),
    [(rising(C), "no line with a shift"), (unshifted(C), "no multiplier of -")],
    ids=["shift", "negative"],
)
def test_a_shift_or_a_negative_multiplier_does_not(statistics: Any, words: str) -> None:
    """Nor is the multiplier alone taken out of a layer that would leave an Add."""
    builder = Builder(3)
    builder.normalize(_activation(builder, "Relu", _conv(builder)), "y", statistics)
    assert words in refusal(builder, IMAGE)


def test_a_negative_multiplier_before_an_absolute_value() -> None:
    builder = Builder(4)
    layer = builder.normalize(builder.op("Sigmoid", ["x"], "s"), "n", unshifted(C))
    builder.op("Conv", [builder.op("Abs", [layer], "a"), builder.weight("w", C, C, 3, 3)], "y")
    folds(builder, IMAGE, ["Sigmoid", "Abs", "Conv"])


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_the_extreme_of_branches_takes_a_line(op_type: str) -> None:
    builder = Builder(5)
    branches = [_conv(builder, name="c"), _conv(builder, name="d")]
    builder.normalize(builder.op(op_type, branches, "m"), "y", rising(C))
    folds(builder, IMAGE, ["Conv", "Conv", op_type])


def test_the_extreme_of_branches_refuses_a_negative_multiplier() -> None:
    builder = Builder(7)
    branches = [_conv(builder, name="c"), _conv(builder, name="d")]
    builder.normalize(builder.op("Max", branches, "m"), "y", unshifted(C))
    assert "turns round" in refusal(builder, IMAGE)


def test_the_extreme_with_what_is_no_weight_is_refused() -> None:
    builder = Builder(8)
    builder.normalize(builder.op("Max", [_conv(builder), "x"], "m"), "y", rising(C))
    builder.nodes[0].attribute.append(helper.make_attribute("pads", [1] * 4))
    assert "'x' is the network's input" in refusal(builder, IMAGE)
