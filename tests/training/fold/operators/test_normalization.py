"""Other normalizations take a line behind them into their own scale and bias."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.folds import equal, folds, refusal
from tests.graphs import Builder, operators
from training.fold import fold

C = 4
IMAGE = (2, C, 5, 3)


def test_instance_normalization() -> None:
    builder = Builder(1)
    inputs = ["x", builder.weight("s", C), builder.weight("b", C)]
    builder.normalize(builder.op("InstanceNormalization", inputs, "i"), "y", C)
    folds(builder, IMAGE, ["InstanceNormalization"])


def _grouped(opset: int, scales: int) -> onnx.ModelProto:
    """GroupNormalization in the place of InstanceNormalization: shape inference knows it not."""
    builder = Builder(1)
    inputs = ["x", builder.weight("s", scales), builder.weight("b", scales)]
    builder.normalize(builder.op("InstanceNormalization", inputs, "g", name="gn"), "n", C)
    builder.op("Relu", ["n"], "y")
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"], opset)
    node = helper.make_node("GroupNormalization", inputs, ["g"], name="gn", num_groups=2)
    model.graph.node[0].CopyFrom(node)
    return model


def test_group_normalization() -> None:
    model = _grouped(21, C)
    folded = fold(model).model
    assert operators(folded) == ["GroupNormalization", "Relu"]
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    equal(model, folded, {"x": x})


def test_group_normalization_with_a_scale_for_each_group_is_refused() -> None:
    (layer,) = fold(_grouped(18, 2)).report.layers
    assert "GroupNormalization 'gn' has a scale for each group" in str(layer.refusal)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("axis", "shape"), [(-1, (C,)), (1, (C,)), (-2, (7, C))], ids=str)
def test_layer_normalization(axis: int, shape: tuple[int, ...], bias: bool) -> None:
    builder = Builder(1)
    inputs = ["x", builder.weight("s", *shape)] + [builder.weight("b", *shape)] * bias
    normal = builder.op("LayerNormalization", inputs, "l", axis=axis)
    data: Any = (5, C) if len(shape) == 1 else (2, 7, C)
    left = ["LayerNormalization"]
    if len(shape) == 2:
        normal = builder.op("Transpose", [normal], "t", perm=[0, 2, 1])
        left.append("Transpose")
    builder.normalize(normal, "y", C)
    folds(builder, data, left)


def test_layer_normalization_with_one_scale_for_all_channels_is_refused() -> None:
    builder = Builder(1)
    normal = builder.op("LayerNormalization", ["x", builder.weight("s", 3)], "l")
    builder.normalize(normal, "y", C)
    assert "whose scale has [3]" in refusal(builder, IMAGE)


def test_a_statistic_is_refused() -> None:
    builder = Builder(1)
    builder.weight("s", C)
    node = helper.make_node("LayerNormalization", ["x", "s"], ["l", "mean"], axis=1, name="ln")
    builder.nodes.append(node)
    builder.normalize("mean", "m", 1)
    builder.op("Mul", ["l", "m"], "y")
    assert "a statistic that LayerNormalization 'ln' computes" in refusal(builder, (5, C))


def test_a_layer_before_it_is_refused() -> None:
    builder = Builder(1)
    data = builder.normalize("x", "n", C)
    builder.op("InstanceNormalization", [data, builder.weight("s", C), builder.weight("b", C)], "y")
    assert "computes its statistics from it" in refusal(builder, IMAGE)


def test_a_layer_takes_in_one_before_it_that_others_read_too() -> None:
    """n → (o → Relu, Conv): n goes forward into o and into the Conv."""
    builder = Builder(1)
    data = builder.normalize(builder.op("Relu", ["x"], "r"), "n", C)
    kept = builder.op("Relu", [builder.normalize(data, "o", C)], "kept")
    conv = builder.op("Conv", [data, builder.weight("w", C, C, 1, 1)], "c")
    builder.op("Add", [kept, conv], "y")
    result = folds(builder, IMAGE, ["Relu", "BatchNormalization", "Relu", "Conv", "Add"])
    assert [layer.rule for layer in result.report.layers] == ["before batchnormalization", None]
    statistics = builder.statistics("o")
    assert np.array_equal(result.normalizations[1].mean, statistics["mean"])
