"""The oracle of the proof: an ONNX network evaluated in float64, independent of any runtime.

The network is copied with every floating-point type replaced by double, and run by ONNX's own
reference evaluator. It shares no code with the fold. Two operators are ours (see `_KERNELS`):
tested against PyTorch in float64.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from training.graph import Array

_NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the main graph by name, in float64 where it is a floating-point one."""
    evaluator = ReferenceEvaluator(to_float64(model), new_ops=list(_KERNELS))
    declared = {value.name: value for value in model.graph.input}
    feeds = {
        name: array.astype(np.float64)
        if declared[name].type.tensor_type.elem_type in _NARROW
        else array
        for name, array in inputs.items()
    }
    values = evaluator.run(None, feeds, intermediate=True)
    assert isinstance(values, dict)  # because of `intermediate`
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which everything that was a narrower floating-point number is a double."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _widen_graph(copy.graph)
    for function in copy.functions:
        _widen_nodes(function.node)
    return copy


def _widen_graph(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for sparse in graph.sparse_initializer:
        _widen_tensor(sparse.values)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    _widen_nodes(graph.node)


def _widen_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float64))
            node.attribute.append(helper.make_attribute("value", zero))
        for attribute in node.attribute:
            _widen_attribute(node, attribute)


def _widen_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    if attribute.type == onnx.AttributeProto.TENSOR:
        _widen_tensor(attribute.t)
    elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
        _widen_tensor(attribute.sparse_tensor.values)
    elif attribute.type == onnx.AttributeProto.GRAPH:
        _widen_graph(attribute.g)
    elif attribute.type == onnx.AttributeProto.GRAPHS:
        for graph in attribute.graphs:
            _widen_graph(graph)
    elif attribute.name in _TYPE_ATTRIBUTES and attribute.i in _NARROW:
        attribute.i = TensorProto.DOUBLE
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        held = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        tensor = numpy_helper.from_array(np.asarray(held, np.float64))
        attribute.CopyFrom(helper.make_attribute("value", tensor))


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _NARROW:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


class Conv(OpRun):
    """By one matrix product per kernel tap; the evaluator's own copies the input for all taps."""

    op_domain = ""

    def _run(
        self, x: Array, weight: Array, bias: Array | None = None, **given: Any
    ) -> tuple[Array]:
        ones = [1] * (weight.ndim - 2)
        strides, dilations = given.get("strides") or ones, given.get("dilations") or ones
        extent = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
        pads = _pads(given, x.shape[2:], extent, strides)
        padded = np.pad(x, ((0, 0), (0, 0), *pads))
        return (_convolve(padded, weight, bias, (strides, dilations, given.get("group") or 1)),)


def _pads(
    given: Mapping[str, Any], size: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """(before, after) for each spatial axis."""
    automatic = given.get("auto_pad") or "NOTSET"
    if automatic == "NOTSET":
        explicit = given.get("pads") or [0] * (2 * len(size))
        return list(zip(explicit[: len(size)], explicit[len(size) :], strict=True))
    if automatic == "VALID":
        return [(0, 0)] * len(size)
    total = [
        max(0, (-(-n // s) - 1) * s + e - n) for n, e, s in zip(size, extent, strides, strict=True)
    ]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    first, last = (small, large) if automatic == "SAME_UPPER" else (large, small)
    return list(zip(first, last, strict=True))


def _convolve(
    padded: Array,
    weight: Array,
    bias: Array | None,
    steps: tuple[Sequence[int], Sequence[int], int],
) -> Array:
    strides, dilations, group = steps
    rows, kernel = padded.shape[0], weight.shape[2:]
    out = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    taps = weight.reshape(group, weight.shape[0] // group, weight.shape[1], *kernel)
    result = np.zeros((rows, group, taps.shape[1], int(np.prod(out))), np.float64)
    for tap in product(*map(range, kernel)):
        window: tuple[Any, ...] = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilations, out, strides, strict=True)
        )
        at: tuple[Any, ...] = tap
        seen = padded[..., *window].reshape(rows, group, weight.shape[1], -1)
        factor = taps[..., *at]
        # A depthwise tap is one number per channel: multiplying is faster than 1×1 products.
        result += factor * seen if weight.shape[1] == 1 else factor @ seen
    result = result.reshape(rows, weight.shape[0], *out)
    return result if bias is None else result + bias.reshape(-1, *[1] * len(out))


class BatchNormalization(OpRun):
    """For every opset; the evaluator's own takes inference below opset 14 for training."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **given: Any
    ) -> tuple[Array, ...]:
        if len(self.onnx_node.output) > 1 or given.get("training_mode"):
            raise ValueError("BatchNormalization that normalizes by its own batch")
        # spatial=0 (before opset 9) has parameters of shape [C, D1, …]
        shape = (1, *scale.shape, *[1] * (x.ndim - 1 - scale.ndim))
        scale, bias, mean, var = (array.reshape(shape) for array in (scale, bias, mean, var))
        epsilon = given.get("epsilon")
        deviation: NDArray[np.float64] = np.sqrt(var + (1e-5 if epsilon is None else epsilon))
        return ((x - mean) / deviation * scale + bias,)


_KERNELS = (Conv, BatchNormalization)
