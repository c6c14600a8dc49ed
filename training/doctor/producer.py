"""The weights in front of a layer, as they would be with the layer folded into them.

    W' = multiplier·W        b' = (b - mean)·multiplier + bias        per output channel
An estimate for the rules that ask how large the folded numbers are; `training.fold` folds.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from training import graph
from training.doctor.layer import Layer
from training.fold.affine import Float64
from training.graph import Array


@dataclass(frozen=True, eq=False)
class Producer:
    """The operator in front of a layer: its weight by output channel [C, K] and its bias [C].

    The weight keeps its own type and memory: what is asked of W' is computed channel by channel.
    """

    node: ir.Node
    weight_name: str
    weight: Array
    bias: Float64 | None

    def folded_size(self, layer: Layer) -> Float64:
        """The largest |W'| of each channel, [C]; NaN where the layer's own numbers are none."""
        assert layer.multiplier is not None
        largest = np.maximum(self.weight.max(axis=1), -self.weight.min(axis=1))
        return np.asarray(largest.astype(np.float64) * np.abs(layer.multiplier))

    def folded_bias(self, layer: Layer) -> Float64:
        """b', [C]."""
        assert layer.multiplier is not None
        assert layer.mean is not None
        bias = 0.0 if self.bias is None else self.bias
        with np.errstate(all="ignore"):
            return np.asarray((bias - layer.mean) * layer.multiplier + layer.shift)

    def share_below(self, layer: Layer, limit: float) -> float:
        """The share of the non-zero |W'| that are below `limit`."""
        assert layer.multiplier is not None
        gain = np.abs(np.nan_to_num(layer.multiplier, nan=0.0))
        used = np.flatnonzero(gain)
        size = np.abs(self.weight[used], dtype=np.float32)
        held = int(np.count_nonzero(size))
        below = (size < (limit / gain[used]).astype(np.float32)[:, np.newaxis]) & (size > 0)
        return int(np.count_nonzero(below)) / held if held else 0.0


def producer_of(layer: Layer) -> Producer | None:
    """What computes the layer's input, where that is a product with constant weights."""
    if layer.node is None or not layer.node.inputs or layer.node.inputs[0] is None:
        return None
    node, added = _behind(layer.node.inputs[0])
    if node is None or len(node.inputs) < 2:
        return None
    weight = graph.constant(node.inputs[1])
    if weight is None or node.inputs[1] is None or weight.dtype.kind not in "fV" or not weight.size:
        return None
    rows = _by_channel(node, weight)
    if rows is None or rows.shape[0] != layer.channels:
        return None
    own = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    bias = _bias(added if own is None else own, layer.channels)
    name = graph.source(node.inputs[1]).name or ""
    return Producer(node, name, rows, bias)


def _behind(value: ir.Value) -> tuple[ir.Node | None, Array | None]:
    """The node that computes the value, and the constant that is added to a product after it."""
    node = graph.source(value).producer()
    if node is None or not graph.is_op(node, "Add"):
        return node, None
    for data, constant in (node.inputs, node.inputs[::-1]):
        added = graph.constant(constant)
        product = graph.source(data).producer() if data is not None else None
        if added is not None and product is not None and graph.is_op(product, "MatMul"):
            return product, added
    return node, None


def _by_channel(node: ir.Node, weight: Array) -> Array | None:
    """The weight as [output channels, everything else]; None for any other operator."""
    wide = weight if weight.dtype.kind == "f" else weight.astype(np.float32)  # bfloat16
    if graph.is_op(node, "Conv"):
        return wide.reshape(len(wide), -1)
    if graph.is_op(node, "ConvTranspose") and wide.ndim > 2:
        groups = int(graph.attribute(node, "group", 1))
        split = wide.reshape(groups, len(wide) // groups, wide.shape[1], -1)
        return np.swapaxes(split, 1, 2).reshape(groups * wide.shape[1], -1)
    if wide.ndim != 2:
        return None
    if graph.is_op(node, "Gemm"):
        return wide if graph.attribute(node, "transB", 0) else wide.T
    return wide.T if graph.is_op(node, "MatMul") else None


def _bias(array: Array | None, channels: int) -> Float64 | None:
    if array is None or array.size not in (1, channels):
        return None
    return np.broadcast_to(array.astype(np.float64).ravel(), (channels,))
