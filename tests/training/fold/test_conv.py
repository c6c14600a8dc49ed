"""Conv → BatchNormalization: fires, equals, refuses. The oracle is PyTorch in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto
from torch.nn import functional as F

from tests.graphs import PARAMETERS, Builder, channel_error, constants, normalized, operators, run
from training.fold import fold

# 32 unit roundoffs: a convolution here sums at most 54 products, and one rounding of the weights.
FLOAT32 = 2e-6
FLOAT16 = 2e-3  # four unit roundoffs; ONNX Runtime computes float16 convolutions in float32
SIZE = 11
CHANNELS, OUT = 6, 6


def _convolve(x: Any, weight: Any, bias: Any, **attributes: Any) -> Any:
    """PyTorch's convolution in float64 with ONNX's attributes; pads are taken before it."""
    axes = weight.ndim - 2
    pads = attributes.pop("pads", [0] * (2 * axes))
    # PyTorch pads the last axis first: (before, after) for each.
    order = [n for axis in reversed(range(axes)) for n in (pads[axis], pads[axis + axes])]
    wide: list[Any] = [
        None if a is None else torch.from_numpy(np.asarray(a, np.float64))
        for a in (x, weight, bias)
    ]
    names = {"strides": "stride", "dilations": "dilation", "group": "groups"}
    keywords = {names[name]: value for name, value in attributes.items()}
    function: Any = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return function(F.pad(wide[0], order), wide[1], wide[2], **keywords).numpy()


def _network(
    axes: int = 2, bias: str = "given", seed: int = 0, **attributes: Any
) -> tuple[Builder, Any]:
    builder = Builder(seed)
    kernel = attributes.pop("kernel", 3)
    group = attributes.get("group", 1)
    inputs = ["x", builder.weight("weight", OUT, CHANNELS // group, *[kernel] * axes)]
    if bias == "given":
        inputs.append(builder.weight("bias", OUT))
    if bias == "empty string":
        inputs.append("")
    builder.op("Conv", inputs, "c", name="conv", **attributes)
    builder.normalize("c", "y", OUT)
    return builder, builder.model({"x": ["N", CHANNELS, *[SIZE] * axes]}, ["y"])


def _check(builder: Builder, model: Any, axes: int = 2, **attributes: Any) -> None:
    folded = fold(model).model
    assert operators(folded) == ["Conv"]
    x = builder.random.standard_normal((3, CHANNELS, *[SIZE] * axes)).astype(np.float32)
    made = builder.constants
    expected = normalized(
        _convolve(x, made["weight"], made.get("bias"), **attributes), builder.statistics("y")
    )
    assert channel_error(expected, run(folded, x=x)[0]) < FLOAT32


@pytest.mark.parametrize("bias", ["given", "absent", "empty string"])
@pytest.mark.parametrize("group", [1, 2, CHANNELS])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_convolution_takes_the_line_in(axes: int, group: int, bias: str) -> None:
    builder, model = _network(axes, bias, seed=axes, group=group)
    _check(builder, model, axes, group=group)


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 1, 1, 1]},
        {"pads": [2, 0, 1, 3]},
        {"strides": [2, 3]},
        {"dilations": [2, 1]},
        {"pads": [2, 1, 2, 1], "strides": [2, 1], "dilations": [1, 3], "group": 3},
    ],
    ids=str,
)
def test_every_attribute_keeps_its_meaning(attributes: dict[str, Any]) -> None:
    builder, model = _network(**attributes)
    _check(builder, model, **attributes)


@pytest.mark.parametrize(
    ("auto_pad", "pads"),
    [("SAME_UPPER", [1, 1, 2, 2]), ("SAME_LOWER", [2, 2, 1, 1]), ("VALID", [0, 0, 0, 0])],
)
def test_automatic_padding_keeps_its_meaning(auto_pad: str, pads: list[int]) -> None:
    builder, model = _network(kernel=4, auto_pad=auto_pad)
    _check(builder, model, pads=pads)


def test_a_shift_that_nearly_cancels_keeps_its_digits() -> None:
    """bias ≈ mean·multiplier: a float32 fold errs by 1e-5 and more here."""
    builder = Builder(3)
    builder.op("Conv", ["x", builder.weight("weight", OUT, CHANNELS, 1, 1)], "c")
    var = builder.random.uniform(0.5, 2, OUT).astype(np.float32)
    mean = builder.random.uniform(300, 900, OUT).astype(np.float32)
    scale = np.ones(OUT, np.float32)
    bias = (mean.astype(np.float64) / np.sqrt(var.astype(np.float64) + 1e-5)).astype(np.float32)
    statistics = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    builder.normalize("c", "y", statistics)
    model = builder.model({"x": ["N", CHANNELS, 4, 4]}, ["y"])
    x = builder.random.standard_normal((3, CHANNELS, 4, 4)).astype(np.float32)
    expected = normalized(_convolve(x, builder.constants["weight"], None), statistics)
    assert channel_error(expected, run(fold(model).model, x=x)[0]) < FLOAT32


def test_float16_is_rounded_once() -> None:
    builder = Builder(1)
    statistics = {
        "scale": builder.random.uniform(0.5, 2, OUT),
        "bias": builder.random.standard_normal(OUT),
        "mean": builder.random.standard_normal(OUT),
        "var": builder.random.uniform(0.1, 9, OUT),
    }
    statistics = {name: array.astype(np.float16) for name, array in statistics.items()}
    builder.op("Conv", ["x", builder.weight("w", OUT, CHANNELS, 3, 3, dtype="float16")], "c")
    builder.normalize("c", "y", statistics)
    model = builder.model({"x": ["N", CHANNELS, 8, 8]}, ["y"], dtype=TensorProto.FLOAT16)
    folded = fold(model).model
    made = constants(folded)
    exact = statistics["scale"].astype(np.float64) / np.sqrt(
        statistics["var"].astype(np.float64) + float(np.float32(1e-5))
    )
    weight = builder.constants["w"].astype(np.float64) * exact.reshape(-1, 1, 1, 1)
    assert np.array_equal(made["w"], weight.astype(np.float16))
    x = builder.random.standard_normal((2, CHANNELS, 8, 8)).astype(np.float16)
    expected = normalized(_convolve(x, builder.constants["w"], None), statistics)
    assert channel_error(expected, run(folded, x=x)[0]) < FLOAT16


def test_float16_weights_take_float32_parameters_in() -> None:
    builder = Builder(2)
    builder.op("Conv", ["x", builder.weight("w", OUT, CHANNELS, 3, 3, dtype="float16")], "c")
    statistics = {name: np.ones(OUT, np.float32) for name in ("scale", "bias", "mean", "var")}
    builder.normalize("c", "y", statistics)
    model = builder.model({"x": ["N", CHANNELS, 8, 8]}, ["y"], dtype=TensorProto.FLOAT16)
    folded = fold(model).model
    assert operators(folded) == ["Conv"]
    assert {array.dtype for array in constants(folded).values()} == {np.dtype(np.float16)}


def _uniform(dtype: str, *values: float) -> dict[str, Any]:
    return {
        name: np.full(OUT, value, dtype) for name, value in zip(PARAMETERS, values, strict=True)
    }


def _refusal(model: Any) -> str:
    result = fold(model)
    assert "BatchNormalization" in operators(result.model)
    assert result.report.layers[0].refusal is not None
    return result.report.layers[0].refusal


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_overflow_is_refused_with_the_value(dtype: str) -> None:
    builder = Builder()
    builder.constant(
        "w", np.full((OUT, CHANNELS, 1, 1), 60000 if dtype == "float16" else 3e38, dtype)
    )
    builder.op("Conv", ["x", "w"], "c")
    statistics = _uniform(dtype, 2, 0, 0, 1)
    builder.normalize("c", "y", statistics)
    kind = TensorProto.FLOAT16 if dtype == "float16" else TensorProto.FLOAT
    refusal = _refusal(builder.model({"x": ["N", CHANNELS, 2, 2]}, ["y"], dtype=kind))
    assert refusal.startswith("backward: a folded constant of ")
    assert f"overflows {dtype}" in refusal


def test_a_channel_that_underflows_is_refused_with_its_value() -> None:
    builder = Builder()
    builder.constant("w", np.full((OUT, CHANNELS, 1, 1), 1e-3, np.float16))
    builder.op("Conv", ["x", "w"], "c")
    statistics = _uniform("float16", 1e-4, 0, 0, 1)
    builder.normalize("c", "y", statistics)
    refusal = _refusal(
        builder.model({"x": ["N", CHANNELS, 2, 2]}, ["y"], dtype=TensorProto.FLOAT16)
    )
    assert refusal.startswith(
        "backward: the folded weight of channel 0, at most 1.00057e-07, underflows float16"
    )


def test_a_weight_that_is_computed_is_refused_by_name() -> None:
    builder = Builder()
    builder.op("Relu", [builder.weight("raw", OUT, CHANNELS, 3, 3)], "w", name="relu")
    builder.op("Conv", ["x", "w"], "c", name="conv")
    builder.normalize("c", "y", OUT)
    assert _refusal(builder.model({"x": ["N", CHANNELS, 8, 8]}, ["y"])).startswith(
        "backward: the weight of Conv 'conv' 'w' is computed by Relu 'relu', not a dense constant"
    )
