"""Identity, Dropout at inference, and Cast that loses nothing: the line passes as it is.

A cast to a wider type keeps every value, so the line may be applied before it. What it gives is
then rounded to the narrower type, as everything is that the operator before the cast computes.
"""

import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("Identity", "Dropout", "Cast")
# Each holds every value of those before it in its row.
_WIDER = (
    (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
    (ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _refused(node, widening=True) or on(field)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    return _refused(node, widening=True) or on(field)


def _refused(node: ir.Node, widening: bool) -> Refusal | None:
    if node.op_type == "Dropout":
        return _drops(node)
    return _loses(node) if node.op_type == "Cast" else None


def _drops(node: ir.Node) -> Refusal | None:
    """Dropout drops in training only: training_mode from opset 12 on, before it at no time."""
    if len([value for value in node.outputs if value.name]) > 1:
        return Refusal(f"{graph.describe(node)} also gives its mask")
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is None:
        return None
    mode = graph.constant(training)
    if mode is not None and not mode.any():
        return None
    return Refusal(f"{graph.describe(node)} may be in training mode")


def _loses(node: ir.Node) -> Refusal | None:
    given, value = int(graph.attribute(node, "to", 0)), node.inputs[0]
    before, after = graph.dtype(value) if value is not None else None, ir.DataType(given)
    for row in _WIDER:
        if before in row and after in row and row.index(before) <= row.index(after):
            return None
    words = "an unknown type" if before is None else before.name
    return Refusal(f"{graph.describe(node)} goes from {words} to {after.name}, which loses digits")
