"""Convolutions and layers as branches of one sum, and whether a fold keeps its answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from tests.graphs import Array, Builder, channel_error, run
from training.fold.float64 import evaluate

FLOAT32 = 2e-6  # 32 unit roundoffs
C = 4


def convolution(
    builder: Builder, name: str, kernel: Sequence[int] = (3, 3), **attributes: Any
) -> str:
    """A convolution of 'x' (or `data`) with C channels that keeps the size at stride 1."""
    data, bias = attributes.pop("data", "x"), attributes.pop("bias", False)
    attributes.setdefault("pads", [k // 2 for k in kernel] * 2)
    weight = builder.weight(f"{name}.w", C, C // attributes.get("group", 1), *kernel)
    inputs = [data, weight, builder.weight(f"{name}.b", C)] if bias else [data, weight]
    return builder.op("Conv", inputs, name, name=name, **attributes)


def _statistics(builder: Builder) -> dict[str, Array]:
    """Negative and zero scales, variances from 1e-6 to 1e6, at comparable loudness: where a branch
    drowns the others, an error in those would not be seen."""
    var = 10 ** builder.random.uniform(-6, 6, C)
    scale = builder.random.choice([-2.0, -0.5, 0.0, 1.5], C) * np.sqrt(var + 1e-5)
    mean, bias = builder.random.standard_normal((2, C))
    made = {"scale": scale, "bias": bias, "mean": mean * np.sqrt(var), "var": var}
    return {name: array.astype(np.float32) for name, array in made.items()}


def bn(builder: Builder, data: str, name: str) -> str:
    """A layer with statistics of `_statistics`."""
    return builder.normalize(data, name, _statistics(builder))


def network(builder: Builder, *outputs: str, spatial: Sequence[int] = (7, 7)) -> onnx.ModelProto:
    """The network from 'x' to the outputs, to 'y' unless others are named."""
    return builder.model({"x": ["N", C, *spatial]}, outputs or ["y"])


def image(builder: Builder, spatial: Sequence[int] = (7, 7)) -> Array:
    return builder.random.standard_normal((2, C, *spatial)).astype(np.float32)


def equal(model: onnx.ModelProto, folded: onnx.ModelProto, x: Array) -> None:
    """Compares ONNX Runtime's answer of the folded network with the float64 evaluation."""
    onnx.checker.check_model(folded, full_check=True)
    expected = evaluate(model, {"x": x})
    for output, result in zip(model.graph.output, run(folded, x=x), strict=True):
        assert channel_error(expected[output.name], result) < FLOAT32
