"""Relu, LeakyRelu, PRelu and Abs: a multiplier that is not negative, without a shift, passes.

f(m·x) = m·f(x)        for m ≥ 0        |m·x| = |m|·|x|
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("Relu", "LeakyRelu", "PRelu", "Abs")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _refused(node, field, "comes from") or on(field)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it is the slope of {graph.describe(node)}")
    if node.op_type == "Abs" and not field.has_shift:
        return on(Field(np.abs(field.multiplier), field.shift))
    return _refused(node, field, "goes to") or on(field)


def _refused(node: ir.Node, field: Field, how: str) -> Refusal | None:
    if field.has_shift:
        return Refusal(f"it {how} {graph.describe(node)}, which no line with a shift can pass")
    if field.is_identity:  # what is left of the line has to be in a constant on this side
        return Refusal(f"nothing of it is left to pass {graph.describe(node)}")
    smallest = float(field.multiplier.min())
    if smallest < 0:
        words = f"which no multiplier of {smallest:g} can pass"
        return Refusal(f"it {how} {graph.describe(node)}, {words}")
    return None
