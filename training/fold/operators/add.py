"""Add, Sub and Sum: of a constant, or of several linear branches; the line behind or before.

    m·(x + c) + s  =  m·x + (m·c + s)               the constant goes, if what computes x has a bias
                   =  m·x + c'   with  c' = m·c + s
    m·(x + y) + s  =  (m·x + s) + m·y               every branch is scaled, one takes the shift
    (m·x + s) + c  =  m·x + (s + c)

Before a sum with another tensor the line would have to be applied to that tensor too: refused.
A constant must broadcast to x, not x to the constant: else there are more channels than x has.
"""

import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit
from training.fold.rules.checks import broadcasts_to, constant_operand, dtype_of, exact, reduced
from training.fold.way import Way, Ways

OP_TYPES = ("Add", "Sub", "Sum")
# Operators that can take a shift, so that a constant added behind them need not stay.
_BIASED = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")
_FACTORS = 4


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    position = constant_operand(node)
    if position is None or len(node.inputs) != 2:
        return _branches(node, field)
    data = node.inputs[1 - position]
    added = exact(node, position)
    if data is None or not broadcasts_to(added, data, field):
        return _no_bias(node, added)
    sign = _signs(node)
    behind = field.multiplier * sign[position] * added + field.shift
    scaled = Field.of(field.multiplier, 0.0)
    kept = Way((_constant(node, position, sign[position] * behind),), ((1 - position, scaled),))
    if not _may_go(data):
        return (kept,)
    whole = Field.of(field.multiplier * sign[1 - position], behind)
    return (Way(parts=((1 - position, whole),), bypass=1 - position), kept)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    other = constant_operand(node)
    if other is None or other == position or len(node.inputs) != 2:
        return Refusal(f"{graph.describe(node)} adds it to what has not gone through the line")
    data, added, sign = node.inputs[position], exact(node, other), _signs(node)
    if data is None or not broadcasts_to(added, data, field):
        return _no_bias(node, added)
    shift = sign[position] * field.shift + sign[other] * added
    gone = Way(parts=((0, Field.of(sign[position] * field.multiplier, shift)),), bypass=position)
    if field.scales:
        return (gone,)
    return (Way((_constant(node, other, sign[other] * shift),)), gone)


def _signs(node: ir.Node) -> tuple[float, ...]:
    return (1.0, -1.0) if node.op_type == "Sub" else (1.0,) * len(node.inputs)


def _may_go(data: ir.Value) -> bool:
    """Whether the constant may go into the bias of what computes `data`, but for a few factors."""
    node = data.producer()
    for _ in range(_FACTORS):
        if node is None or not graph.is_op(node, "Mul", "Div", "Neg", "Add", "Sub"):
            break
        given = [value for value in node.inputs if value and graph.constant(value) is None]
        node = given[0].producer() if len(given) == 1 else None
    return node is not None and graph.is_op(node, *_BIASED)


def _constant(node: ir.Node, position: int, array: Float64) -> Edit:
    return Edit(node, {position: Constant(array, dtype_of(node, position))})


def _no_bias(node: ir.Node, added: Float64) -> Refusal:
    return Refusal(
        f"the constant of {graph.describe(node)} has shape {list(added.shape)}, "
        "which is not known to broadcast to the tensor that it meets"
    )


def _branches(node: ir.Node, field: Field) -> Ways:
    """One way for each branch that could take the shift."""
    fields: list[Field] = []
    for value in node.inputs:
        part = reduced(field, value) if value is not None else None
        if part is None:
            return Refusal(f"an operand of {graph.describe(node)} has fewer channels than the sum")
        fields.append(part)
    sign = _signs(node)
    holders = range(len(fields)) if field.has_shift else range(1)
    return tuple(
        Way(
            parts=tuple(
                (
                    index,
                    # A subtrahend takes the shift with its sign turned.
                    Field.of(part.multiplier, sign[index] * part.shift if index == holder else 0.0),
                )
                for index, part in enumerate(fields)
            )
        )
        for holder in holders
    )
