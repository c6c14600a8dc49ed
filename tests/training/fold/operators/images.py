"""A convolution of a small image, and constants: for tests of what stands before a layer."""

import numpy as np

from tests.graphs import Builder

C = 4
IMAGE = (2, C, 6, 6)


def convolution(builder: Builder, name: str = "c", data: str = "x", out: int = C) -> str:
    """A convolution of `data` that keeps the size, without a bias."""
    weight = builder.weight(f"{name}.w", out, C, 3, 3)
    return builder.op("Conv", [data, weight], name, pads=[1, 1, 1, 1])


def ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


def floats(builder: Builder, name: str, *values: float) -> str:
    return builder.constant(name, np.array(values, np.float32))
