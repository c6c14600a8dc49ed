"""The operators that the float64 evaluation has of its own, against PyTorch in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from torch.nn import functional as F

from tests.graphs import Builder, run
from training.fold.float64 import evaluate

FLOAT64 = 1e-12  # of sums of some hundred products


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "dilation", "pad", "longer"),
    [(1, 1, 0, 0), (2, 1, 1, 1), (3, 2, 2, 2), (1, 2, 1, 0), (2, 1, 0, 1)],
)
def test_transposed_convolution(
    axes: int, group: int, stride: int, dilation: int, pad: int, longer: int
) -> None:
    builder = Builder(axes)
    inputs = ["x", builder.weight("w", 4, 6 // min(group, 3), *[3] * axes)]
    inputs.append(builder.weight("b", builder.constants["w"].shape[1] * group))
    attributes: dict[str, Any] = {
        "group": group,
        "strides": [stride] * axes,
        "dilations": [dilation] * axes,
        "pads": [pad] * (2 * axes),
        "output_padding": [longer] * axes,
    }
    builder.op("ConvTranspose", inputs, "y", **attributes)
    x = builder.random.standard_normal((2, 4, *[5] * axes)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 4, *[5] * axes]}, ["y"]), {"x": x})["y"]
    wide = [torch.from_numpy(a.astype(np.float64)) for a in (x, *builder.constants.values())]
    function: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    expected = function(*wide, stride, pad, longer, group, dilation).numpy()
    np.testing.assert_allclose(got, expected, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize(
    "attributes",
    [
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"auto_pad": "SAME_LOWER", "strides": [2]},
        {"output_shape": [9], "strides": [2]},
        {"output_shape": [8], "strides": [2], "auto_pad": "SAME_UPPER"},
    ],
    ids=str,
)
def test_transposed_convolution_with_automatic_padding(attributes: dict[str, Any]) -> None:
    """PyTorch has none; ONNX Runtime has."""
    builder = Builder(1)
    builder.op("ConvTranspose", ["x", builder.weight("w", 2, 3, 3)], "y", **attributes)
    x = builder.random.standard_normal((2, 2, 5)).astype(np.float32)
    model = builder.model({"x": ["N", 2, 5]}, ["y"])
    np.testing.assert_allclose(evaluate(model, {"x": x})["y"], run(model, x=x)[0], atol=1e-5)


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(
    ("mode", "widths"),
    [
        ("constant", (1, 2, -1, 0)),
        ("constant", (-1, -1, 3, 2)),
        ("reflect", (1, 2, 0, 3)),
        ("edge", (2, 2, 1, 0)),
    ],
)
def test_padding(mode: str, widths: tuple[int, int, int, int], opset: int) -> None:
    top, bottom, left, right = widths
    pads = [0, 0, top, left, 0, 0, bottom, right]
    builder = Builder(1)
    if opset == 10:
        builder.op("Pad", ["x"], "y", mode=mode, pads=pads, value=7.0)
    else:
        builder.constant("pads", np.array(pads, np.int64))
        builder.constant("value", np.array(7, np.float32))
        builder.op("Pad", ["x", "pads", "value"], "y", mode=mode)
    x = builder.random.standard_normal((2, 3, 5, 5)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 3, 5, 5]}, ["y"], opset), {"x": x})["y"]
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    keywords: Any = {"value": 7.0} if mode == "constant" else {}
    wide = torch.from_numpy(x.astype(np.float64))
    expected = F.pad(wide, (left, right, top, bottom), modes[mode], **keywords).numpy()
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 1), (3, 1)])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_average_pooling(axes: int, stride: int, pad: int, ceil: bool, counted: bool) -> None:
    builder = Builder(axes)
    attributes: dict[str, Any] = {
        "kernel_shape": [3] * axes,
        "strides": [stride] * axes,
        "pads": [pad] * (2 * axes),
        "ceil_mode": int(ceil),
        "count_include_pad": int(counted),
    }
    builder.op("AveragePool", ["x"], "y", **attributes)
    sizes = [6, 9, 7][:axes]
    x = builder.random.standard_normal((2, 3, *sizes)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 3, *sizes]}, ["y"]), {"x": x})["y"]
    function: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    expected = function(torch.from_numpy(x.astype(np.float64)), 3, stride, pad, ceil, counted)
    np.testing.assert_allclose(got, expected.numpy(), rtol=FLOAT64, atol=FLOAT64)


def test_average_pooling_with_dilations() -> None:
    builder = Builder(1)
    builder.op("AveragePool", ["x"], "y", kernel_shape=[2], dilations=[3], auto_pad="SAME_UPPER")
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    got = evaluate(builder.model({"x": [1, 1, 5]}, ["y"], 19), {"x": x})["y"]
    np.testing.assert_array_equal(got, [[[2, 1.5, 2.5, 2, 3]]])


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("stride", "pad", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 1, 2)])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_maximum_pooling(axes: int, stride: int, pad: int, dilation: int, ceil: bool) -> None:
    builder = Builder(axes)
    attributes: dict[str, Any] = {
        "kernel_shape": [3] * axes,
        "strides": [stride] * axes,
        "dilations": [dilation] * axes,
        "pads": [pad] * (2 * axes),
        "ceil_mode": int(ceil),
    }
    builder.op("MaxPool", ["x"], "y", **attributes)
    sizes = [6, 9, 7][:axes]
    x = builder.random.standard_normal((2, 3, *sizes)).astype(np.float32)
    got = evaluate(builder.model({"x": ["N", 3, *sizes]}, ["y"]), {"x": x})["y"]
    function: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    wide = torch.from_numpy(x.astype(np.float64))
    expected = function(wide, 3, stride, pad, dilation, ceil_mode=ceil)
    np.testing.assert_array_equal(got, expected.numpy())


def test_the_places_of_maxima_are_still_given() -> None:
    builder = Builder(1)
    node = helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2], strides=[2])
    builder.nodes.append(node)
    x = np.array([[[1, 3, 2, 0]]], np.float32)
    got = evaluate(builder.model({"x": [1, 1, 4]}, ["y"]), {"x": x})
    np.testing.assert_array_equal(got["y"], [[[3, 2]]])
    np.testing.assert_array_equal(got["places"], [[[1, 2]]])
