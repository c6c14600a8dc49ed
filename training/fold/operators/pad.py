"""Pad, the line behind or before.

    pad(m·x + s) = m·pad(x) + s        where what is padded is copied from x (reflect, edge, wrap)
    pad(m·x) = m·pad(x)                where it is zero, and there is no shift

The line must be the same along every axis that is padded; a negative padding cuts off.
"""

import onnx_ir as ir

from training import graph
from training.fold.axes import integers
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("Pad",)
_COPYING = ("reflect", "edge", "wrap")
_PADS, _VALUE, _AXES = 1, 2, 3


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _refused(node, field) or on(field)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    return _refused(node, field) or on(field)


def _refused(node: ir.Node, field: Field) -> Refusal | None:
    pads, axes = integers(node, "pads", _PADS), integers(node, "axes", _AXES)
    if isinstance(pads, Refusal):
        return pads
    if isinstance(axes, Refusal):
        return axes
    if axes is None:
        axes = list(range(field.rank))
    if pads is None or len(pads) != 2 * len(axes):
        return Refusal(f"{graph.describe(node)} has no padding for each axis")
    both = zip(pads[: len(axes)], pads[len(axes) :], strict=True)
    padded = {axis % field.rank for axis, pair in zip(axes, both, strict=True) if any(pair)}
    if padded & set(field.varies):
        return Refusal(f"{graph.describe(node)} pads the axis of the channels")
    if graph.attribute(node, "mode", "constant") in _COPYING or max(pads, default=0) <= 0:
        return None
    if field.has_shift or not _pads_zeros(node):
        return Refusal(f"{graph.describe(node)} pads with a number that the line would change")
    return None


def _pads_zeros(node: ir.Node) -> bool:
    value = node.inputs[_VALUE] if len(node.inputs) > _VALUE else None
    if value is None:
        return float(graph.attribute(node, "value", 0.0)) == 0
    array = graph.constant(value)
    return array is not None and not array.any()
