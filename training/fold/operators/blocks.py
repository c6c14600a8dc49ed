"""DepthToSpace and SpaceToDepth: entries move between channels and places, each with its line.

DepthToSpace makes b·b places of b·b channels: channel (i·b + j)·C + c (DCR; c·b·b + i·b + j in CRD)
goes to channel c, at row i and column j of each block. So a line of the C channels is repeated for
each place; the other way, the line must be the same for all channels that come together.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("DepthToSpace", "SpaceToDepth")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _spread(node, field) if node.op_type == "DepthToSpace" else _gathered(node, field)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    return _gathered(node, field) if node.op_type == "DepthToSpace" else _spread(node, field)


def _spread(node: ir.Node, field: Field) -> Ways:
    """From the side with few channels to the side with many."""
    return _on_channels(node, field) or on(field.each(_repeat(node)))


def _gathered(node: ir.Node, field: Field) -> Ways:
    """From the side with many channels to the side with few."""
    refusal = _on_channels(node, field)
    if refusal is not None:
        return refusal
    if not field.varies:
        return on(field)
    places = int(graph.attribute(node, "blocksize", 1)) ** 2
    few = field.each(lambda array: _take(node, array, places))
    again = [
        _repeat(node)(np.broadcast_to(a, (1, max(field.shape[1] // places, 1), 1, 1)))
        for a in (few.multiplier, few.shift)
    ]
    if not all(
        np.array_equal(a, b) for a, b in zip(again, (field.multiplier, field.shift), strict=True)
    ):
        return Refusal(f"{graph.describe(node)} brings channels with different lines together")
    return on(few)


def _on_channels(node: ir.Node, field: Field) -> Refusal | None:
    if field.rank == 4 and set(field.varies) <= {1}:
        return None
    return Refusal(f"the line at {graph.describe(node)} is not one for each channel")


def _is_crd(node: ir.Node) -> bool:
    return bool(graph.attribute(node, "mode", "DCR") == "CRD")


def _repeat(node: ir.Node) -> Callable[[Float64], Float64]:
    places = int(graph.attribute(node, "blocksize", 1)) ** 2

    def repeat(array: Float64) -> Float64:
        if array.shape[1] == 1:
            return array
        if _is_crd(node):
            return np.repeat(array, places, axis=1)
        return np.tile(array, (1, places, 1, 1))

    return repeat


def _take(node: ir.Node, array: Float64, places: int) -> Float64:
    """The line of the first place."""
    step = slice(0, None, places) if _is_crd(node) else slice(0, array.shape[1] // places)
    return array[:, step]
