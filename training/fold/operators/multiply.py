"""Mul and Div by a constant, and Neg; the line behind or before.

    m·(c·x) + s  =  (m·c)·x + s                  the operator goes, if what computes x can take it
                 =  c'·x   with  c' = m·c        where there is no shift
    c·(m·x + s)  =  (c·m)·x + c·s

Division is multiplication by 1/c. The constant must broadcast to x, not x to the constant.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit
from training.fold.rules.checks import broadcasts_to, constant_operand, dtype_of, exact
from training.fold.way import Way, Ways

OP_TYPES = ("Mul", "Div", "Neg")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    factor = _factor(node, field)
    if isinstance(factor, Refusal):
        return factor
    position, data = _operands(node)
    through = Field.of(field.multiplier * factor, field.shift)
    gone = Way(parts=((data, through),), bypass=data)
    if field.has_shift or position is None:
        return (gone,)
    return (gone, Way((_scaled(node, position, field.multiplier * factor),)))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    constant, data = _operands(node)
    if data != position:
        return Refusal(f"it divides a constant in {graph.describe(node)}")
    factor = _factor(node, field)
    if isinstance(factor, Refusal):
        return factor
    through = Field.of(factor * field.multiplier, factor * field.shift)
    gone = Way(parts=((0, through),), bypass=data)
    if field.has_shift or constant is None:
        return (gone,)
    return (Way((_scaled(node, constant, factor * field.multiplier),)), gone)


def _operands(node: ir.Node) -> tuple[int | None, int]:
    """The positions of the constant and of the data."""
    if node.op_type == "Neg":
        return None, 0
    if node.op_type == "Div":
        return 1, 0
    position = constant_operand(node)
    return position, 0 if position is None else 1 - position


def _factor(node: ir.Node, field: Field) -> Float64 | Refusal:
    """What the operator multiplies its data by."""
    if node.op_type == "Neg":
        return np.full((), -1.0)
    position = constant_operand(node)
    if position is None or (node.op_type == "Div" and position == 0):
        return Refusal(f"{graph.describe(node)} has no constant factor")
    factor, data = exact(node, position), node.inputs[1 - position]
    if data is None or not broadcasts_to(factor, data, field):
        return Refusal(
            f"the constant of {graph.describe(node)} has shape {list(factor.shape)}, "
            "which is not known to broadcast to the tensor that it meets"
        )
    if node.op_type == "Mul":
        return factor
    if (factor == 0).any():
        return Refusal(f"{graph.describe(node)} divides by zero")
    return np.asarray(1 / factor)


def _scaled(node: ir.Node, position: int, factor: Float64) -> Edit:
    """The operator with another factor; a division becomes a multiplication."""
    constant = Constant(factor, dtype_of(node, position))
    return Edit(node, {position: constant}, "Mul" if node.op_type == "Div" else None)
