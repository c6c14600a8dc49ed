"""The oracle against PyTorch in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from tests.graphs import Builder, normalized
from training.fold.float64 import evaluate

FLOAT64 = 1e-13  # of sums of some fifty products


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "dilation", "pad"), [(1, 1, 0), (2, 1, 1), (1, 2, 2), (3, 2, 1)]
)
def test_convolution(axes: int, group: int, stride: int, dilation: int, pad: int) -> None:
    builder = Builder(axes)
    inputs = ["x", builder.weight("w", 8, 4 // group, *[3] * axes), builder.weight("b", 8)]
    builder.op(
        "Conv",
        inputs,
        "y",
        group=group,
        strides=[stride] * axes,
        dilations=[dilation] * axes,
        pads=[pad] * (2 * axes),
    )
    x = builder.random.standard_normal((2, 4, *[9] * axes)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 4, *[9] * axes]}, ["y"]), {"x": x})["y"]
    wide = [torch.from_numpy(a.astype(np.float64)) for a in (x, *builder.constants.values())]
    function: Any = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    expected = function(*wide, stride, pad, dilation, group).numpy()
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize(
    ("auto_pad", "pads"), [("SAME_UPPER", (1, 2)), ("SAME_LOWER", (2, 1)), ("VALID", (0, 0))]
)
def test_automatic_padding(auto_pad: str, pads: tuple[int, int]) -> None:
    builder = Builder()
    builder.op("Conv", ["x", builder.weight("w", 3, 2, 4)], "y", auto_pad=auto_pad, strides=[2])
    x = builder.random.standard_normal((2, 2, 9)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 2, 9]}, ["y"]), {"x": x})["y"]
    # ceil(9 / 2) = 5 outputs need 12 inputs: 3 of padding.
    wide = torch.from_numpy(np.pad(x.astype(np.float64), ((0, 0), (0, 0), pads)))
    weight = torch.from_numpy(builder.constants["w"].astype(np.float64))
    np.testing.assert_allclose(
        got, F.conv1d(wide, weight, stride=2).numpy(), rtol=FLOAT64, atol=FLOAT64
    )


def test_automatic_padding_of_a_kernel_that_needs_none() -> None:
    builder = Builder()
    builder.op("Conv", ["x", builder.weight("w", 3, 2, 1)], "y", auto_pad="SAME_UPPER", strides=[3])
    x = builder.random.standard_normal((2, 2, 7)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 2, 7]}, ["y"]), {"x": x})["y"]
    expected = np.einsum(
        "oc,ncs->nos", builder.constants["w"][..., 0].astype(np.float64), x[..., ::3]
    )
    np.testing.assert_allclose(got, expected, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 17])
def test_batch_normalization_is_inference_at_every_opset(opset: int) -> None:
    builder = Builder()
    builder.normalize("x", "y", 3, momentum=0.9)
    x = builder.random.standard_normal((2, 3, 4)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 3, 4]}, ["y"], opset), {"x": x})["y"]
    expected = normalized(x, builder.statistics("y"))
    np.testing.assert_allclose(got, expected, rtol=FLOAT64, atol=FLOAT64)


def test_every_constant_and_cast_becomes_a_double() -> None:
    """1 + 2^-30 is lost in float32 wherever it passes through one."""
    builder = Builder()
    tiny = 2.0**-30
    builder.op("Constant", [], "a", value=numpy_helper.from_array(np.array([tiny], np.float32)))
    builder.op("Constant", [], "b", value_float=tiny)
    builder.op("Constant", [], "d", value_floats=[tiny])
    builder.constant("shape", np.array([1], np.int64))
    filled = numpy_helper.from_array(np.array([tiny], np.float32))
    builder.op("ConstantOfShape", ["shape"], "e", value=filled)
    builder.op("ConstantOfShape", ["shape"], "zero")
    total = "x"
    for name in ("a", "b", "d", "e", "zero"):
        total = builder.op("Add", [total, name], f"sum.{name}")
    builder.op("Cast", [total], "y", to=TensorProto.FLOAT)
    model = builder.model({"x": [1]}, ["y"])
    got = evaluate(model, {"x": np.ones(1, np.float32)})["y"]
    assert got.dtype == np.float64
    assert got[0] == 1 + 4 * tiny


def test_branches_are_widened_too() -> None:
    branch = helper.make_graph(
        [helper.make_node("Add", ["x", "tiny"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array([2.0**-30], np.float32), "tiny")],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, [1])],
    )
    builder = Builder()
    builder.constant("condition", np.array(True))
    builder.op("If", ["condition"], "y", then_branch=branch, else_branch=other)
    got = evaluate(builder.model({"x": [1]}, ["y"]), {"x": np.ones(1, np.float32)})["y"]
    assert got[0] == 1 + 2.0**-30
