"""GridSample, the line behind or before.

    sample(m·x + s) = m·sample(x) + s        m and s the same at all places

The weights of each sample sum to one where what lies beyond the border is copied from inside it
(border, reflection). Where it counts as zeros, only a multiplier passes.
"""

import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("GridSample",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _refused(node, field) or on(field)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it says where {graph.describe(node)} takes its samples")
    return _refused(node, field) or on(field)


def _refused(node: ir.Node, field: Field) -> Refusal | None:
    if not set(field.varies) <= {0, 1}:
        return Refusal(f"{graph.describe(node)} samples what has different lines")
    if field.has_shift and graph.attribute(node, "padding_mode", "zeros") == "zeros":
        return Refusal(f"{graph.describe(node)} counts what is beyond the border as zeros")
    return None
