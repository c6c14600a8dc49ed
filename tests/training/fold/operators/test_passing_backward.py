"""Operators between weights and a layer: the line passes them backward, and the answer stays."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import TensorProto

from tests.folds import folds
from tests.graphs import Builder
from tests.training.fold.operators.images import IMAGE, C, convolution, floats, ints

Through = Callable[[Builder, str], str]
PASSAGES: dict[str, tuple[Through, list[str]]] = {}


def passage(*left: str) -> Callable[[Through], Through]:
    """An operator behind a Conv; `left` are the operators behind the Conv after the fold."""

    def add(through: Through) -> Through:
        PASSAGES[through.__name__] = (through, ["Conv", *left])
        return through

    return add


def _simple(op_type: str, stays: bool = True, **attributes: Any) -> None:
    name = f"{op_type} {attributes}" if attributes else op_type
    left = ["Conv", op_type] if stays else ["Conv"]
    PASSAGES[name] = (lambda b, data: b.op(op_type, [data], "p", **attributes), left)


_simple("Identity", stays=False)
_simple("Dropout", stays=False)
_simple("Transpose", perm=[0, 1, 3, 2])
_simple("GlobalAveragePool")
_simple("AveragePool", kernel_shape=[2, 2])
_simple("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
_simple("AveragePool", kernel_shape=[2, 2], count_include_pad=1)
_simple("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER")
_simple("ReduceMean", axes=[2, 3])
_simple("ReduceMean", axes=[-1], keepdims=0)
_simple("ReduceMean", axes=[3, -2], keepdims=0)
_simple("Cast", stays=False, to=TensorProto.FLOAT)


@passage()
def neg(builder: Builder, data: str) -> str:
    return builder.op("Neg", [data], "p")


@passage()
def add_constant(builder: Builder, data: str) -> str:
    return builder.op("Add", [data, builder.weight("k", C, 1, 1)], "p")


@passage()
def add_constant_first(builder: Builder, data: str) -> str:
    return builder.op("Add", [builder.weight("k", 1, C, 1, 1), data], "p")


@passage("Add")
def add_a_constant_for_each_place(builder: Builder, data: str) -> str:
    return builder.op("Add", [data, builder.weight("k", 1, C, 6, 6)], "p")


@passage("Add")
def add_a_constant_along_the_width(builder: Builder, data: str) -> str:
    return builder.op("Add", [data, builder.weight("k", 6)], "p")


@passage()
def subtract_constant(builder: Builder, data: str) -> str:
    return builder.op("Sub", [data, builder.weight("k", C, 1, 1)], "p")


@passage()
def subtract_from_constant(builder: Builder, data: str) -> str:
    return builder.op("Sub", [builder.weight("k", C, 1, 1), data], "p")


@passage("Sub")
def subtract_from_a_constant_for_each_place(builder: Builder, data: str) -> str:
    return builder.op("Sub", [builder.weight("k", 1, C, 6, 6), data], "p")


@passage()
def multiply(builder: Builder, data: str) -> str:
    return builder.op("Mul", [data, builder.weight("k", C, 1, 1)], "p")


@passage()
def multiply_by_scalar(builder: Builder, data: str) -> str:
    return builder.op("Mul", [builder.weight("k"), data], "p")


@passage()
def divide(builder: Builder, data: str) -> str:
    return builder.op("Div", [data, builder.weight("k", 1, C, 1, 1)], "p")


@passage()
def scale_and_shift(builder: Builder, data: str) -> str:
    scaled = builder.op("Mul", [data, builder.weight("k", C, 1, 1)], "scaled")
    return builder.op("Add", [scaled, builder.weight("l", C, 1, 1)], "p")


@passage("Unsqueeze", "Squeeze")
def unsqueeze_and_squeeze(builder: Builder, data: str) -> str:
    wide = builder.op("Unsqueeze", [data, ints(builder, "a", 0, 3)], "wide")
    return builder.op("Squeeze", [wide, ints(builder, "b", 0, -3)], "p")


@passage("Reshape")
def reshape_to_a_sequence(builder: Builder, data: str) -> str:
    return builder.op("Reshape", [data, ints(builder, "shape", 0, 0, -1)], "p")


@passage("Transpose", "Transpose")
def transpose_there_and_back(builder: Builder, data: str) -> str:
    last = builder.op("Transpose", [data], "last", perm=[0, 2, 3, 1])
    return builder.op("Transpose", [last], "p", perm=[0, 3, 1, 2])


@passage("Reshape", "Transpose", "Reshape")
def channel_shuffle(builder: Builder, data: str) -> str:
    groups = builder.op("Reshape", [data, ints(builder, "s", -1, 2, C // 2, 6, 6)], "groups")
    turned = builder.op("Transpose", [groups], "turned", perm=[0, 2, 1, 3, 4])
    return builder.op("Reshape", [turned, ints(builder, "t", -1, C, 6, 6)], "p")


@passage("GlobalAveragePool", "Flatten")
def pool_and_flatten(builder: Builder, data: str) -> str:
    return builder.op("Flatten", [builder.op("GlobalAveragePool", [data], "g")], "p")


@passage("Resize")
def resize_by_scales(builder: Builder, data: str) -> str:
    scales = floats(builder, "scales", 1, 1, 2, 1.5)
    return builder.op("Resize", [data, "", scales], "p", mode="linear")


@passage("Resize")
def resize_to_sizes(builder: Builder, data: str) -> str:
    sizes = ints(builder, "sizes", 2, C, 9, 4)
    return builder.op("Resize", [data, "", "", sizes], "p", mode="nearest")


@passage("Resize")
def resize_cubic(builder: Builder, data: str) -> str:
    scales = floats(builder, "scales", 1, 1, 2, 3)
    return builder.op("Resize", [data, "", scales], "p", mode="cubic")


@passage("Pad")
def pad_by_reflection(builder: Builder, data: str) -> str:
    pads = ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    return builder.op("Pad", [data, pads], "p", mode="reflect")


@passage("Pad")
def pad_by_the_edge(builder: Builder, data: str) -> str:
    pads = ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    return builder.op("Pad", [data, pads], "p", mode="edge")


@passage("Pad")
def cut_off(builder: Builder, data: str) -> str:
    return builder.op("Pad", [data, ints(builder, "pads", 0, 0, -1, 0, 0, 0, 0, -2)], "p")


@pytest.mark.parametrize("name", PASSAGES)
def test_the_line_passes(name: str) -> None:
    through, left = PASSAGES[name]
    builder = Builder(len(name))
    builder.normalize(through(builder, convolution(builder)), "y", C)
    result = folds(builder, IMAGE, left)
    assert result.report.layers[0].output == "y"
