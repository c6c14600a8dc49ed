"""Copies of a network that say more: what a layer's input is, or how the network normalizes.

Works on the protobuf, since everything that is added is plain operators at the end or in the
place of one node. Ranks need not be known: [N, C, …] becomes [N, C, P] by a reshape.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.doctor.layer import Layer
from training.graph import Array

_ROWS = "doctor.rows"  # the shape [0, 0, -1]: N and C as they are, all positions in one


class _Copy:
    """A network that is added to."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        standard = (item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
        self.axes_are_inputs = next(standard, 1) >= 18
        self.constant(_ROWS, np.array([0, 0, -1], np.int64))

    def constant(self, name: str, array: Array) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def reduce(self, data: str, output: str, axes: list[int], keepdims: int) -> onnx.NodeProto:
        if not self.axes_are_inputs:
            return _node("ReduceMean", [data], output, axes=axes, keepdims=keepdims)
        name = self.constant(f"{output}.axes", np.array(axes, np.int64))
        return _node("ReduceMean", [data, name], output, keepdims=keepdims)


def instrument(
    model: onnx.ModelProto, layers: Sequence[Layer], *, batch_statistics: bool
) -> onnx.ModelProto:
    """The network with outputs `doctor.<i>.m` and `.q`, [N, C] float32, for the i-th layer; with
    `batch_statistics` every one of them normalizes by its mini-batch."""
    copy = _Copy(model)
    if batch_statistics:
        _normalize_by_batch(copy, layers)
    for index, layer in enumerate(layers):
        assert layer.node is not None
        data = layer.node.inputs[0]
        assert data is not None
        copy.model.graph.node.extend(_watch(copy, data.name or "", f"doctor.{index}", layer))
        copy.model.graph.output.extend(
            helper.make_tensor_value_info(f"doctor.{index}.{part}", TensorProto.FLOAT, None)
            for part in "mq"
        )
    return copy.model


def with_shapes(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """The network with the shape of every layer's input as the output `doctor.<i>.shape`."""
    copy = _Copy(model)
    for index, layer in enumerate(layers):
        assert layer.node is not None
        assert layer.node.inputs[0] is not None
        name = f"doctor.{index}.shape"
        copy.model.graph.node.append(_node("Shape", [layer.node.inputs[0].name or ""], name))
        copy.model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.INT64, [None])
        )
    return copy.model


def _watch(copy: _Copy, data: str, stem: str, layer: Layer) -> list[onnx.NodeProto]:
    assert layer.mean is not None
    centre = np.where(np.isfinite(layer.mean), layer.mean, 0).astype(np.float32)
    mean = copy.constant(f"{stem}.centre", centre[:, np.newaxis])
    return [
        _node("Cast", [data], f"{stem}.wide", to=TensorProto.FLOAT),
        _node("Reshape", [f"{stem}.wide", _ROWS], f"{stem}.rows"),
        _node("Sub", [f"{stem}.rows", mean], f"{stem}.centred"),
        copy.reduce(f"{stem}.centred", f"{stem}.m", [2], keepdims=0),
        _node("Mul", [f"{stem}.centred", f"{stem}.centred"], f"{stem}.squared"),
        copy.reduce(f"{stem}.squared", f"{stem}.q", [2], keepdims=0),
    ]


def _normalize_by_batch(copy: _Copy, layers: Sequence[Layer]) -> None:
    graph = copy.model.graph
    by_output = {layer.node.outputs[0].name: layer for layer in layers if layer.node is not None}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        layer = by_output.get(node.output[0]) if node.output else None
        if layer is None:
            nodes.append(node)
        else:
            nodes += _by_batch(copy, node, layer, types.get(node.input[1], TensorProto.FLOAT))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _by_batch(copy: _Copy, node: onnx.NodeProto, layer: Layer, dtype: int) -> list[onnx.NodeProto]:
    stem, data = f"{node.output[0]}.doctor", node.input[0]
    scale = copy.constant(f"{stem}.scale", _column(layer.scale))
    bias = copy.constant(f"{stem}.bias", _column(layer.bias))
    epsilon = copy.constant(f"{stem}.epsilon", np.array(layer.epsilon or 0, np.float32))
    return [
        _node("Cast", [data], f"{stem}.wide", to=TensorProto.FLOAT),
        _node("Reshape", [f"{stem}.wide", _ROWS], f"{stem}.rows"),
        copy.reduce(f"{stem}.rows", f"{stem}.mean", [0, 2], keepdims=1),
        _node("Sub", [f"{stem}.rows", f"{stem}.mean"], f"{stem}.centred"),
        _node("Mul", [f"{stem}.centred", f"{stem}.centred"], f"{stem}.squared"),
        copy.reduce(f"{stem}.squared", f"{stem}.var", [0, 2], keepdims=1),
        _node("Add", [f"{stem}.var", epsilon], f"{stem}.stable"),
        _node("Sqrt", [f"{stem}.stable"], f"{stem}.deviation"),
        _node("Div", [f"{stem}.centred", f"{stem}.deviation"], f"{stem}.normal"),
        _node("Mul", [f"{stem}.normal", scale], f"{stem}.scaled"),
        _node("Add", [f"{stem}.scaled", bias], f"{stem}.shifted"),
        _node("Shape", [data], f"{stem}.shape"),
        _node("Reshape", [f"{stem}.shifted", f"{stem}.shape"], f"{stem}.back"),
        _node("Cast", [f"{stem}.back"], node.output[0], to=dtype),
    ]


def _column(array: Array | None) -> Array:
    assert array is not None
    return array.astype(np.float32)[:, np.newaxis]


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], name=f"{output}.{op_type}", **attributes)
