"""Networks of convolutions of one shape, and whether a fold keeps their answer."""

import numpy as np
import onnx

from tests.graphs import Array, Builder, channel_error, run
from training.fold import FoldResult

FLOAT32 = 2e-6  # 32 unit roundoffs
C = 4


def convolution(builder: Builder, output: str = "c", data: str = "x", weight: str = "w") -> str:
    """A convolution that keeps the size; its weight is made where there is none of the name."""
    if weight not in builder.constants:
        builder.weight(weight, C, C, 3, 3)
    return builder.op("Conv", [data, weight], output, name=output, pads=[1, 1, 1, 1])


def network(builder: Builder, *outputs: str, opset: int = 17) -> onnx.ModelProto:
    """The network from the image 'x' to the outputs."""
    return builder.model({"x": ["N", C, 6, 6]}, outputs, opset)


def image(builder: Builder) -> Array:
    return builder.random.standard_normal((2, C, 6, 6)).astype(np.float32)


def same(model: onnx.ModelProto, result: FoldResult, builder: Builder) -> None:
    """Compares the two networks in ONNX Runtime, on one drawn batch."""
    x = image(builder)
    for before, after in zip(run(model, x=x), run(result.model, x=x), strict=True):
        assert channel_error(before.astype(np.float64), after) < FLOAT32
