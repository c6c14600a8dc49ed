"""Random networks of the operators that lines pass, in double, with layers between everything.

A network is a chain of blocks; a block may branch and join again. Now and then a value in between
is an output too, so that a second reader is in the way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.graphs import Builder, hostile_statistics

C = 4


@dataclass
class Network:
    """A network that grows: the last value, with its sizes but for the rows."""

    draw: st.DrawFn
    builder: Builder
    data: str = "x"
    sizes: tuple[int, ...] = (C, 6, 6)
    outputs: list[str] = field(default_factory=list)

    def name(self) -> str:
        return f"v{len(self.builder.nodes)}"

    def weight(self, *shape: int) -> str:
        return self.builder.weight(f"w{len(self.builder.constants)}", *shape, dtype="float64")

    def ints(self, *values: int) -> str:
        name = f"i{len(self.builder.constants)}"
        return self.builder.constant(name, np.array(values, np.int64))

    def op(self, op_type: str, *more: str, data: str | None = None, **attributes: Any) -> str:
        inputs = [data or self.data, *more]
        return self.builder.op(op_type, inputs, self.name(), **attributes)

    def flip(self) -> bool:
        return self.draw(st.booleans())


Block = Callable[[Network], tuple[str, tuple[int, ...]]]


def layer(net: Network) -> tuple[str, tuple[int, ...]]:
    statistics = hostile_statistics(net.sizes[0], net.builder.random)
    if net.flip():  # as a maximum needs it
        statistics["scale"] = np.abs(statistics["scale"])
    if net.draw(st.integers(0, 3)) == 0:  # as zero padding needs it
        statistics |= {"bias": 0 * statistics["bias"], "mean": 0 * statistics["mean"]}
    # Only lines of like sizes keep the errors of a long chain in sight of each other.
    statistics["var"] = np.clip(statistics["var"], 1e-4, 1e4)
    wide = {name: array.astype(np.float64) for name, array in statistics.items()}
    return net.builder.normalize(net.data, net.name(), wide), net.sizes


def activation(net: Network) -> tuple[str, tuple[int, ...]]:
    return net.op("Relu"), net.sizes


def constant(net: Network) -> tuple[str, tuple[int, ...]]:
    shape = net.draw(
        st.sampled_from(
            [(), net.sizes, (net.sizes[0], *[1] * (len(net.sizes) - 1)), net.sizes[-1:]]
        )
    )
    op_type = net.draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    other = net.weight(*shape)
    if op_type == "Div" or net.flip():
        return net.op(op_type, other), net.sizes
    return net.builder.op(op_type, [other, net.data], net.name()), net.sizes


def conv(net: Network, out: int | None = None, data: str | None = None) -> str:
    channels, axes = net.sizes[0], len(net.sizes) - 1
    out = out or channels
    kernel = net.draw(st.sampled_from([1, 3]))
    groups = [g for g in (1, 2, channels) if channels % g == 0 and out % g == 0]
    group = net.draw(st.sampled_from(groups))
    inputs = [net.weight(out, channels // group, *[kernel] * axes)]
    inputs += [net.weight(out)] if net.flip() else []
    pads = [kernel // 2] * (2 * axes)
    return net.op("Conv", *inputs, data=data, group=group, pads=pads)


def convolution(net: Network) -> tuple[str, tuple[int, ...]]:
    if min(net.sizes[1:]) < 3 or net.flip():
        return conv(net), net.sizes
    weight = net.weight(net.sizes[0], net.sizes[0], *[3] * (len(net.sizes) - 1))
    return net.op("Conv", weight), (net.sizes[0], *(n - 2 for n in net.sizes[1:]))


def transposed(net: Network) -> tuple[str, tuple[int, ...]]:
    channels, axes = net.sizes[0], len(net.sizes) - 1
    weight = net.weight(channels, channels // 2 if channels % 2 == 0 else channels, *[3] * axes)
    group = 2 if channels % 2 == 0 else 1
    pads = net.draw(st.sampled_from([1, 2]))
    sizes = tuple(n + 2 - 2 * pads for n in net.sizes[1:])
    if min(sizes) < 1:
        return net.data, net.sizes
    return net.op("ConvTranspose", weight, group=group, pads=[pads] * (2 * axes)), (
        channels,
        *sizes,
    )


def pool(net: Network) -> tuple[str, tuple[int, ...]]:
    kind = net.draw(st.sampled_from(["AveragePool", "MaxPool"]))
    axes = len(net.sizes) - 1
    attributes: dict[str, Any] = {"kernel_shape": [3] * axes, "pads": [1] * (2 * axes)}
    if kind == "AveragePool":
        attributes["count_include_pad"] = net.draw(st.integers(0, 1))
    return net.op(kind, **attributes), net.sizes


def overall(net: Network) -> tuple[str, tuple[int, ...]]:
    if net.flip():
        return net.op("GlobalAveragePool"), (net.sizes[0], *[1] * (len(net.sizes) - 1))
    return net.op("ReduceMean", axes=[-1], keepdims=0), net.sizes[:-1]


def join(net: Network) -> tuple[str, tuple[int, ...]]:
    kind = net.draw(st.sampled_from(["Add", "Sub", "Concat", "residual"]))
    first = conv(net)
    second = net.data if kind == "residual" else conv(net)
    if kind == "Concat":
        sizes = (2 * net.sizes[0], *net.sizes[1:])
        return net.builder.op("Concat", [first, second], net.name(), axis=1), sizes
    op_type = "Add" if kind == "residual" else kind
    return net.builder.op(op_type, [first, second], net.name()), net.sizes


def split(net: Network) -> tuple[str, tuple[int, ...]]:
    channels = net.sizes[0]
    if channels < 2:
        return net.data, net.sizes
    first, second = f"{net.name()}.a", f"{net.name()}.b"
    sizes = net.ints(1, channels - 1)
    node = helper.make_node("Split", [net.data, sizes], [first, second], axis=1)
    net.builder.nodes.append(node)
    part = Network(net.draw, net.builder, second, (channels - 1, *net.sizes[1:]))
    second, _ = layer(part)
    return net.builder.op("Concat", [second, first], net.name(), axis=1), net.sizes


def shuffle(net: Network) -> tuple[str, tuple[int, ...]]:
    channels, rest = net.sizes[0], net.sizes[1:]
    if channels % 2:
        return net.data, net.sizes
    groups = net.op("Reshape", net.ints(-1, 2, channels // 2, *rest))
    order = [0, 2, 1, *range(3, 3 + len(rest))]
    turned = net.op("Transpose", data=groups, perm=order)
    return net.op("Reshape", net.ints(0, channels, *rest), data=turned), net.sizes


def pad(net: Network) -> tuple[str, tuple[int, ...]]:
    mode = net.draw(st.sampled_from(["constant", "edge"]))
    pads = [0, 0, 1, 0, 0, 0, 0, 2] if len(net.sizes) == 3 else [0, 0, 1, 0, 0, 1]
    grown = (1, 2) if len(net.sizes) == 3 else (2,)
    sizes = tuple(n + more for n, more in zip(net.sizes[1:], grown, strict=True))
    return net.op("Pad", net.ints(*pads), mode=mode), (net.sizes[0], *sizes)


def depth_to_space(net: Network) -> tuple[str, tuple[int, ...]]:
    channels, height, width = net.sizes
    if channels % 4:
        return net.data, net.sizes
    mode = net.draw(st.sampled_from(["DCR", "CRD"]))
    sizes = (channels // 4, 2 * height, 2 * width)
    return net.op("DepthToSpace", blocksize=2, mode=mode), sizes


def flatten(net: Network) -> tuple[str, tuple[int, ...]]:
    count = int(np.prod(net.sizes))
    if net.flip() and len(net.sizes) > 2:
        sizes = (net.sizes[0], count // net.sizes[0])
        return net.op("Reshape", net.ints(0, net.sizes[0], -1)), sizes
    return net.op("Flatten"), (count,)


def turn(net: Network) -> tuple[str, tuple[int, ...]]:
    order = [0, *net.draw(st.permutations(range(1, len(net.sizes) + 1)))]
    return net.op("Transpose", perm=order), tuple(net.sizes[axis - 1] for axis in order[1:])


def product(net: Network) -> tuple[str, tuple[int, ...]]:
    if len(net.sizes) > 1 and net.flip():
        weight = net.weight(3, net.sizes[-2])
        product = net.builder.op("MatMul", [weight, net.data], net.name())
        return product, (*net.sizes[:-2], 3, net.sizes[-1])
    product = net.op("MatMul", net.weight(net.sizes[-1], 3))
    if net.flip():
        product = net.op("Add", net.weight(3), data=product)
    return product, (*net.sizes[:-1], 3)


def gemm(net: Network) -> tuple[str, tuple[int, ...]]:
    out = net.draw(st.sampled_from([4, 12]))
    turned = net.draw(st.integers(0, 1))
    weight = net.weight(*((out, net.sizes[0]) if turned else (net.sizes[0], out)))
    inputs = [weight, *([net.weight(out)] if net.flip() else [])]
    return net.op("Gemm", *inputs, alpha=0.5, beta=-2.0, transB=turned), (out,)


def widen(net: Network) -> tuple[str, tuple[int, ...]]:
    if net.sizes[0] % 4:
        return net.data, net.sizes
    sizes = (net.sizes[0] // 4, 2, 2)
    return net.op("Reshape", net.ints(-1, *sizes)), sizes


def cut(net: Network) -> tuple[str, tuple[int, ...]]:
    """A Slice of any axis but the rows."""
    axis = net.draw(st.integers(0, len(net.sizes) - 1))
    start = net.draw(st.integers(0, (net.sizes[axis] - 1) // 2))
    step = net.draw(st.sampled_from([1, 1, 2]))
    end = max(start + 1, net.sizes[axis] - net.draw(st.integers(0, 1)))
    sizes = [*net.sizes]
    sizes[axis] = len(range(start, end, step))
    places = [net.ints(number) for number in (start, end, axis + 1, step)]
    return net.op("Slice", *places), tuple(sizes)


def taken(net: Network) -> tuple[str, tuple[int, ...]]:
    axis = net.draw(st.integers(0, len(net.sizes) - 1))
    size = net.sizes[axis]
    indices = net.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=6))
    sizes = [*net.sizes]
    sizes[axis] = len(indices)
    return net.op("Gather", net.ints(*indices), axis=axis + 1), tuple(sizes)


def repeated(net: Network) -> tuple[str, tuple[int, ...]]:
    repeats = [net.draw(st.sampled_from([1, 1, 2])) for _ in net.sizes]
    sizes = tuple(n * count for n, count in zip(net.sizes, repeats, strict=True))
    return net.op("Tile", net.ints(1, *repeats)), sizes


def total(net: Network) -> tuple[str, tuple[int, ...]]:
    return net.op("ReduceSum", net.ints(-1), keepdims=0), net.sizes[:-1]


def mean(net: Network) -> tuple[str, tuple[int, ...]]:
    kind = net.draw(st.sampled_from(["Mean", "Max", "Min"]))
    return net.builder.op(kind, [conv(net), conv(net)], net.name()), net.sizes


def computed(net: Network) -> tuple[str, tuple[int, ...]]:
    """A convolution whose weight is computed of constants."""
    channels, axes = net.sizes[0], len(net.sizes) - 1
    turned = net.op("Transpose", data=net.weight(*[1] * axes, channels, channels))
    factor = net.op("Exp", data=net.weight(channels, *[1] * (axes + 1)))
    return net.op("Conv", net.op("Mul", factor, data=turned)), net.sizes


ANY: list[Block] = [cut, taken, repeated, layer, layer, activation, constant, product]
SPATIAL: list[Block] = [convolution, convolution, transposed, pool, overall, join, split]
SPATIAL += [shuffle, pad, flatten, turn, total, mean, computed]
BLOCKS: dict[int, list[Block]] = {
    3: [*ANY, *SPATIAL, depth_to_space],
    2: [*ANY, *SPATIAL],
    1: [*ANY, gemm, gemm, widen],
}


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    net = Network(draw, Builder(draw(st.integers(0, 2**16))))
    first, last = draw(st.sampled_from([convolution, activation])), [product, activation]
    net.data, net.sizes = first(net)
    for _ in range(draw(st.integers(3, 9))):
        if max(net.sizes) > 500:
            break
        net.data, net.sizes = draw(st.sampled_from(BLOCKS[len(net.sizes)]))(net)
        if draw(st.integers(0, 24)) == 0:
            net.outputs.append(net.data)
    net.data, _ = draw(st.sampled_from(last))(net)
    outputs = dict.fromkeys((*net.outputs, net.data))
    return net.builder.model({"x": ["N", C, 6, 6]}, list(outputs), 17, TensorProto.DOUBLE)
