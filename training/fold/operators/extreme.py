"""Max and Min of several tensors: the line behind them.

m·max(x, y, …) + s = max(m·x + s, m·y + s, …)        for m ≥ 0
"""

import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.checks import reduced
from training.fold.way import Way, Ways

OP_TYPES = ("Max", "Min")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    smallest = float(field.multiplier.min())
    if smallest < 0:
        words = f"which a multiplier of {smallest:g} turns round"
        return Refusal(f"{graph.describe(node)} compares, {words}")
    found = [reduced(field, value) if value is not None else None for value in node.inputs]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found):
        return Refusal(f"an operand of {graph.describe(node)} has fewer channels than the result")
    return (Way(parts=tuple(enumerate(parts))),)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    return Refusal(f"{graph.describe(node)} compares it with what has not gone through the line")
