"""MaxPool, GlobalMaxPool, ReduceMax and ReduceMin, the line behind or before.

    max(m·x + s) = m·max(x) + s        where m ≥ 0, and m and s the same all over what is compared

A negative multiplier turns the maximum into a minimum, and a minimum into a maximum. Padding never
wins: it counts as -∞.
"""

import onnx_ir as ir

from training import graph
from training.fold.axes import Reduction, pooled, reduction
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    maximum = _maximum(node, field.rank)
    if isinstance(maximum, Refusal):
        return maximum
    before = maximum.before(field)
    return _refused(node, maximum, before) or on(before)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    maximum = _maximum(node, field.rank)
    if isinstance(maximum, Refusal):
        return maximum
    return _refused(node, maximum, field) or on(maximum.after(field))


def _maximum(node: ir.Node, rank: int) -> Reduction | Refusal:
    return reduction(node) if node.op_type in ("ReduceMax", "ReduceMin") else pooled(node, rank)


def _refused(node: ir.Node, maximum: Reduction, field: Field) -> Refusal | None:
    if len([value for value in node.outputs if value.name]) > 1:
        return Refusal(f"{graph.describe(node)} also gives the places of its maxima")
    if not maximum.uniform(field):
        return Refusal(f"{graph.describe(node)} compares what has different lines")
    smallest = float(field.multiplier.min())
    if smallest < 0:
        return Refusal(
            f"{graph.describe(node)} takes maxima, which a multiplier of {smallest:g} turns round"
        )
    return None
