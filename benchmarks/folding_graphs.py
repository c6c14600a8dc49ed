"""The benchmark's generated graphs: the patterns of real networks, with seeded numbers.

Each function of `PATTERNS` draws one graph into a `Sketch`, from the input 'x' to the output 'y'.
The statistics are those of a trained network (variances from 0.1 to 10, one scale in eight
negative), so that the error column compares arithmetic, not luck.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
C = 16
IMAGE = (C, 14, 14)
OPSET = 17


@dataclass(frozen=True)
class Case:
    """A graph, and inputs beside the drawn ones that its caller gives (overriding a constant)."""

    name: str
    model: onnx.ModelProto
    given: dict[str, Array]
    rows: int = 16


class Sketch:
    """Collects nodes and constants; every operation gives the name of what it computes."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.shape: tuple[int, ...] = IMAGE
        self.outputs = ["y"]
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.overridable: list[str] = []

    def constant(self, array: Array, name: str = "") -> str:
        name = name or f"k{len(self.constants)}"
        self.constants[name] = array if array.dtype.kind == "i" else array.astype(self.dtype)
        return name

    def weight(self, *shape: int) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.constant(self.random.standard_normal(shape) / np.sqrt(fan_in))

    def op(self, op_type: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        output = to or f"v{len(self.nodes)}"
        name = f"{op_type}_{len(self.nodes)}"
        node = helper.make_node(op_type, list(inputs), [output], name=name, **attributes)
        self.nodes.append(node)
        return output

    def bn(self, data: str, channels: int = C, to: str = "", **attributes: Any) -> str:
        scale = self.random.uniform(0.3, 2, channels)
        scale[self.random.random(channels) < 1 / 8] *= -1
        bias, mean = self.random.standard_normal((2, channels))
        var = 10 ** self.random.uniform(-1, 1, channels)
        names = [self.constant(array) for array in (scale, bias, mean, var)]
        return self.op("BatchNormalization", data, *names, to=to, **attributes)

    def conv(self, data: str, out: int = C, kernel: int = 3, **attributes: Any) -> str:
        group, axes = attributes.get("group", 1), len(self.shape) - 1
        inputs = attributes.pop("inputs", C)
        attributes.setdefault("pads", [kernel // 2] * (2 * axes))
        shape = (out, inputs // group, *[kernel] * axes)
        return self.op("Conv", data, self.weight(*shape), **attributes)

    def model(self) -> onnx.ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        inputs = [helper.make_tensor_value_info("x", kind, ["N", *self.shape])]
        for name in self.overridable:
            array = self.constants[name]
            inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
        graph = helper.make_graph(
            self.nodes,
            "graph",
            inputs,
            [helper.make_tensor_value_info(name, kind, None) for name in self.outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
        inferred = onnx.shape_inference.infer_shapes(model)
        for declared, found in zip(graph.output, inferred.graph.output, strict=True):
            declared.CopyFrom(found)
            if not found.type.tensor_type.HasField("shape"):  # not inferred in training mode
                shape: list[str | int | None] = ["N", *self.shape]
                declared.CopyFrom(helper.make_tensor_value_info(found.name, kind, shape))
        model.graph.CopyFrom(graph)
        return model


def cases() -> Iterator[Case]:
    """Every graph, in a fixed order."""
    for seed, (name, draw) in enumerate(PATTERNS.items()):
        sketch = Sketch(seed)
        draw(sketch)
        given = {
            name: np.abs(sketch.random.standard_normal(sketch.constants[name].shape)).astype("f4")
            for name in sketch.overridable
        }
        yield Case(name, sketch.model(), given)


Draw = Callable[[Sketch], object]
PATTERNS: dict[str, Draw] = {}


def pattern(name: str) -> Callable[[Draw], Draw]:
    """Registers a graph under its name in the table."""

    def register(draw: Draw) -> Draw:
        PATTERNS[name] = draw
        return draw

    return register


def of(name: str, shape: tuple[int, ...], draw: Callable[[Sketch], str]) -> None:
    """A graph of one expression: `draw` gives the value that becomes the output."""

    def whole(sketch: Sketch) -> None:
        sketch.shape = shape
        sketch.op("Relu", draw(sketch), to="y")

    PATTERNS[name] = whole


def _gemm(s: Sketch, out: int = 32, **attributes: Any) -> str:
    rows, columns = (out, C) if attributes.get("transB") else (C, out)
    return s.op("Gemm", "x", s.weight(rows, columns), s.weight(out), **attributes)


def _flat(s: Sketch, data: str) -> str:
    return s.op("Flatten", data, axis=1)


def _shape(s: Sketch, *sizes: int) -> str:
    return s.constant(np.array(sizes, np.int64))


of("Conv→BN", IMAGE, lambda s: s.bn(s.conv("x")))
of("depthwise Conv→BN", IMAGE, lambda s: s.bn(s.conv("x", group=C)))
of("grouped Conv→BN, strided", IMAGE, lambda s: s.bn(s.conv("x", group=4, strides=[2, 2])))
of("Conv1d→BN", (C, 50), lambda s: s.bn(s.conv("x", dilations=[2], pads=[2, 2])))
of("Conv3d→BN", (C, 4, 8, 8), lambda s: s.bn(s.conv("x")))
of("Conv→Dropout→Identity→BN", IMAGE, lambda s: s.bn(
    s.op("Identity", s.op("Dropout", s.conv("x")))))  # fmt: skip
of("ConvTranspose→BN", IMAGE, lambda s: s.bn(
    s.op("ConvTranspose", "x", s.weight(C, C, 2, 2), strides=[2, 2])))  # fmt: skip
of("grouped ConvTranspose→BN", IMAGE, lambda s: s.bn(s.op(
    "ConvTranspose", "x", s.weight(C, 2, 3, 3), group=8, strides=[2, 2], output_padding=[1, 1],
), C))  # fmt: skip
of("ConvTranspose→Add→BN", IMAGE, lambda s: s.bn(s.op(
    "Add", s.op("ConvTranspose", "x", s.weight(C, C, 2, 2), strides=[2, 2]), s.weight(1, C, 1, 1),
)))  # fmt: skip
of("Gemm→BN", (C,), lambda s: s.bn(_gemm(s), 32))
of(
    "Gemm→BN, transB, alpha, beta",
    (C,),
    lambda s: s.bn(_gemm(s, transB=1, alpha=0.5, beta=2.0), 32),
)
of("MatMul→BN", (C,), lambda s: s.bn(s.op("MatMul", "x", s.weight(C, 32)), 32))
of("MatMul→Add→BN", (C,), lambda s: s.bn(
    s.op("Add", s.op("MatMul", "x", s.weight(C, 32)), s.weight(32)), 32))  # fmt: skip
of("MatMul→Add→Transpose→BN", (20, C), lambda s: s.bn(s.op("Transpose", s.op(
    "Add", s.op("MatMul", "x", s.weight(C, 32)), s.weight(32)), perm=[0, 2, 1]), 32))  # fmt: skip
of("MatMul, constant left→BN", (C, 20), lambda s: s.bn(s.op("MatMul", s.weight(32, C), "x"), 32))
of("MatMul→Reshape→BN (LeViT)", (20, C), lambda s: s.op("Reshape", s.bn(s.op(
    "Reshape", s.op("MatMul", "x", s.weight(C, 32)), _shape(s, -1, 32)), 32),
    _shape(s, -1, 20, 32)))  # fmt: skip
of("Einsum→BN", (C, 6, 6), lambda s: s.bn(
    s.op("Einsum", "x", s.weight(32, C), equation="nchw,oc->nohw"), 32))  # fmt: skip
of("Conv→Mul→Add→BN", IMAGE, lambda s: s.bn(s.op(
    "Add", s.op("Mul", s.conv("x"), s.weight(1, C, 1, 1)), s.weight(C, 1, 1))))  # fmt: skip
of("Conv→AveragePool→BN", IMAGE, lambda s: s.bn(
    s.op("AveragePool", s.conv("x"), kernel_shape=[2, 2], strides=[2, 2])))  # fmt: skip
of("Conv→GlobalAveragePool→BN", IMAGE, lambda s: s.bn(s.op("GlobalAveragePool", s.conv("x"))))
of("Conv→GlobalAveragePool→Flatten→BN", IMAGE, lambda s: s.bn(
    _flat(s, s.op("GlobalAveragePool", s.conv("x")))))  # fmt: skip
of("Conv→DepthToSpace→BN", IMAGE, lambda s: s.bn(
    s.op("DepthToSpace", s.conv("x", 4 * C), blocksize=2)))  # fmt: skip
of("BN→BN", IMAGE, lambda s: s.bn(s.bn(s.op("Relu", "x"))))
of("Conv→BN→BN", IMAGE, lambda s: s.bn(s.bn(s.conv("x"))))
of("BN on the input→Conv, unpadded", IMAGE, lambda s: s.conv(s.bn("x"), pads=[0] * 4))
of("ReLU→BN→Conv, unpadded", IMAGE, lambda s: s.conv(s.bn(s.op("Relu", "x")), pads=[0] * 4))
of("ReLU→BN→Conv, padded (must stay)", IMAGE, lambda s: s.conv(s.bn(s.op("Relu", "x"))))
of("ReLU→BN→Flatten→Gemm", (C, 4, 4), lambda s: s.op(
    "Gemm", _flat(s, s.bn(s.op("Relu", "x"))), s.weight(C * 16, 10), s.weight(10)))  # fmt: skip
of("ReLU→BN→GlobalAveragePool→Gemm", IMAGE, lambda s: s.op(
    "Gemm", _flat(s, s.op("GlobalAveragePool", s.bn(s.op("Relu", "x")))), s.weight(C, 10),
    s.weight(10)))  # fmt: skip
of("residual Add→BN→Gemm", (C,), lambda s: s.op(
    "Gemm", s.bn(s.op("Add", s.op("Relu", "x"), s.op("Tanh", "x"))), s.weight(C, 10)))  # fmt: skip
of("RepVGG", IMAGE, lambda s: s.op("Add", s.op(
    "Add", s.bn(s.conv("x")), s.bn(s.conv("x", kernel=1))), s.bn("x")))  # fmt: skip
of("MobileOne, depthwise", IMAGE, lambda s: s.op("Sum", *(
    s.bn(s.conv("x", group=C)) for _ in range(3)), s.bn(s.conv("x", kernel=1, group=C)),
    s.bn("x")))  # fmt: skip
of("RepGhost", IMAGE, lambda s: s.op("Add", s.bn(s.conv("x", group=C)), s.bn("x")))
of("FastViT mixer", IMAGE, lambda s: s.op("Add", "x", s.op("Mul", s.weight(C, 1, 1), s.op(
    "Sub", s.op("Add", s.bn(s.conv("x", group=C, kernel=3)), s.bn("x")), s.bn("x")))))  # fmt: skip
of("Concat of branches→BN", IMAGE, lambda s: s.bn(
    s.op("Concat", s.conv("x"), s.conv("x", kernel=1), axis=1), 2 * C))  # fmt: skip
of("Add of branches→BN", IMAGE, lambda s: s.bn(
    s.op("Add", s.conv("x"), s.conv(s.op("Relu", "x")))))  # fmt: skip
of("channel shuffle→BN", IMAGE, lambda s: s.bn(s.op("Reshape", s.op("Transpose", s.op(
    "Reshape", s.conv("x", group=4), _shape(s, -1, 4, 4, 14, 14)), perm=[0, 2, 1, 3, 4]),
    _shape(s, -1, C, 14, 14))))  # fmt: skip
of("Mul along the width→BN (no fold of the Mul)", (C, C, C), lambda s: s.bn(
    s.op("Mul", s.conv("x"), s.weight(C))))  # fmt: skip
of("Conv→ReLU→BN→MaxPool→Conv", IMAGE, lambda s: s.conv(s.op(
    "MaxPool", s.bn(s.op("Relu", s.conv("x"))), kernel_shape=[2, 2], strides=[2, 2]),
    pads=[0] * 4))  # fmt: skip


@pattern("Conv→Split→BN, BN")
def _split(s: Sketch) -> None:
    half = helper.make_node("Split", [s.conv("x")], ["a", "b"], axis=1)
    s.nodes.append(half)
    s.op("Mul", s.op("Sigmoid", s.bn("a", C // 2)), s.bn("b", C // 2), to="y")


@pattern("DenseNet: Concat→BN→ReLU, parts read again (must stay)")
def _dense(s: Sketch) -> None:
    first = s.op("Relu", s.bn(s.conv("x")))
    both = s.op("Concat", "x", first, axis=1)
    second = s.conv(s.op("Relu", s.bn(both, 2 * C)), inputs=2 * C)
    s.op("Concat", both, second, axis=1, to="y")


@pattern("pre-activation residual (first BN must stay)")
def _pre_activation(s: Sketch) -> None:
    stem = s.op("Relu", "x")
    inner = s.bn(s.conv(s.op("Relu", s.bn(stem))))
    s.op("Add", stem, s.conv(s.op("Relu", inner)), to="y")


@pattern("shared weight: two Conv, two BN")
def _shared(s: Sketch) -> None:
    weight, pads = s.weight(C, C, 3, 3), [1] * 4
    a = s.op("Relu", s.bn(s.op("Conv", "x", weight, pads=pads)))
    s.op("Mul", a, s.bn(s.op("Conv", a, weight, pads=pads)), to="y")


@pattern("one Conv, two BN")
def _two(s: Sketch) -> None:
    conv = s.conv("x")
    s.op("Mul", s.op("Sigmoid", s.bn(conv)), s.op("Relu", s.bn(conv)), to="y")


@pattern("Conv→Cast→BN, no loss")
def _cast(s: Sketch) -> None:
    conv = s.conv("x")
    s.nodes.append(helper.make_node("Cast", [conv], ["wide"], to=TensorProto.FLOAT))
    s.op("Relu", s.bn("wide"), to="y")


@pattern("overridable scale (must stay)")
def _overridable(s: Sketch) -> None:
    s.bn(s.conv("x"), to="y")
    s.overridable = [s.nodes[-1].input[1]]


@pattern("training-mode BN (must stay)")
def _training(s: Sketch) -> None:
    s.bn(s.conv("x"), to="y", training_mode=1)
    s.nodes[-1].output.extend(["running_mean", "running_var"])


@pattern("float16 Conv→BN")
def _half(s: Sketch) -> None:
    s.dtype = np.dtype(np.float16)
    s.op("Relu", s.bn(s.conv("x")), to="y")


@pattern("Conv is an output too (must stay)")
def _output(s: Sketch) -> None:
    conv = s.conv("x")
    s.bn(conv, to="y")
    s.outputs = ["y", conv]
