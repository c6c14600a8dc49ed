"""Mean of several tensors: the line behind it.

    m·mean(x, y, …) + s = mean(m·x + s, m·y + s, …) = mean(m·x + n·s, m·y, …)        of n tensors

Every one takes the line, or every one the multiplier and one n times the shift.
"""

import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.checks import reduced
from training.fold.way import Way, Ways

OP_TYPES = ("Mean",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    found = [reduced(field, value) if value is not None else None for value in node.inputs]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found):
        return Refusal(f"an operand of {graph.describe(node)} has fewer channels than the mean")
    holders = range(len(parts) if field.has_shift else 0)
    return (Way(parts=tuple(enumerate(parts))), *(_held_by(holder, parts) for holder in holders))


def _held_by(holder: int, parts: list[Field]) -> Way:
    held = (
        Field.of(part.multiplier, len(parts) * part.shift if index == holder else 0.0)
        for index, part in enumerate(parts)
    )
    return Way(parts=tuple(enumerate(held)))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    return Refusal(f"{graph.describe(node)} adds it to what has not gone through the line")
