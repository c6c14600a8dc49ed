"""MatMul by a constant, on either side and at any rank, the line behind it or before it.

    m·(x·W) + s  =  x·(W·m) + s          m along any axis of the product that is one of W
    (m·x + s)·W  =  x·(m·W) + s·W        m along the axis of x that is summed over

With the constant on the right, its last axis is the columns of the product; on the left, its last
but one is the rows; the axes before these are batches of matrices. A MatMul has no bias: at two
dimensions it becomes a Gemm, else the shift is passed on, or added behind.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit, Insertion
from training.fold.rules.checks import dtype_of, exact, is_constant, lines_of, shape_of
from training.fold.way import Way, Ways

OP_TYPES = ("MatMul",)
_GEMM_BIAS = 2


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    side = _constant_side(node)
    if isinstance(side, Refusal):
        return side
    weight = exact(node, side)
    per_entry = _along_weight(node, side, field)
    if isinstance(per_entry, Refusal):
        return per_entry
    scaled = Constant(weight * per_entry, dtype_of(node, side), axis=_channel_axis(side, weight))
    if not field.has_shift:
        return (Way((Edit(node, {side: scaled}),)),)
    if not _is_gemm(node, side):
        return Refusal(f"{graph.describe(node)} has no bias to take the shift")
    shift = np.broadcast_to(field.shift.reshape(-1), weight.shape[1:])
    return (Way((_gemm(node, scaled, shift),)),)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    side = _constant_side(node)
    if isinstance(side, Refusal):
        return side
    weight = exact(node, side)
    summed = weight.ndim - 2 if side == 1 else weight.ndim - 1
    line = lines_of(
        node, field, field.rank - 1 if side == 1 else field.rank - 2, weight.shape[summed]
    )
    if isinstance(line, Refusal):
        return line
    shape = tuple(-1 if axis == summed else 1 for axis in range(weight.ndim))
    dtype = dtype_of(node, side)
    scaled = Constant(
        weight * line.multiplier.reshape(shape), dtype, axis=_channel_axis(side, weight)
    )
    shift = (weight * line.shift.reshape(shape)).sum(axis=summed, keepdims=True)
    if not shift.any():
        return (Way((Edit(node, {side: scaled}),)),)
    if _is_gemm(node, side):
        return (Way((_gemm(node, scaled, shift.reshape(-1)),)),)
    return _shift_behind(node, Edit(node, {side: scaled}), Constant(shift, dtype))


def _shift_behind(node: ir.Node, edit: Edit, shift: Constant) -> Ways:
    """The product's shift goes on to its readers, or into an Add of its own."""
    product = node.outputs[0]
    rank = graph.rank(product)
    added = Way((edit,), inserted=(Insertion(product, shift, ir.Value()),))
    if rank is None or shift.exact.ndim > rank:
        return (added,)
    padded = shift.exact.reshape(*[1] * (rank - shift.exact.ndim), *shift.exact.shape)
    return (Way((edit,), ((0, Field.of(1.0, padded)),)), added)


def _constant_side(node: ir.Node) -> int | Refusal:
    """The position of the constant operand, a matrix or a batch of them."""
    sides = [side for side in (1, 0) if is_constant(node, side, "operand") is None]
    if not sides:
        refusal = is_constant(node, 1, "right operand")
        assert refusal is not None
        return refusal
    side = sides[0]
    data, weight = node.inputs[1 - side], len(shape_of(node, side))
    rank = graph.rank(data) if data is not None else None
    if weight >= 2 and (rank is None or rank >= 2):
        return side
    return Refusal(
        f"{graph.describe(node)} has operands of {rank} and {weight} dimensions: "
        "a vector is no matrix"
    )


def _along_weight(node: ir.Node, side: int, field: Field) -> Float64 | Refusal:
    """The multiplier as it broadcasts to the constant operand."""
    weight = shape_of(node, side)
    summed_out = -1 if side == 0 else -2  # the axis of the product that is not one of W
    extra = field.rank - len(weight)
    expected = (*[1] * extra, *weight)
    if field.rank < 2 or field.shape[summed_out] != 1:
        return _other_axes(node, field, weight)
    aligned = field.multiplier.reshape(*[1] * max(-extra, 0), *field.shape)
    fits = all(
        size in (1, own)
        for axis, (size, own) in enumerate(zip(aligned.shape, expected, strict=True))
        if axis != len(expected) + summed_out
    )
    if not fits:
        return _other_axes(node, field, weight)
    return aligned.reshape(aligned.shape[max(extra, 0) :])


def _other_axes(node: ir.Node, field: Field, weight: tuple[int, ...]) -> Refusal:
    return Refusal(
        f"the line has shape {list(field.shape)} on the product of {graph.describe(node)}, whose "
        f"constant has {list(weight)}: the channels are not along its columns or rows"
    )


def _channel_axis(side: int, weight: Float64) -> int:
    return weight.ndim - 1 if side == 1 else weight.ndim - 2


def _is_gemm(node: ir.Node, side: int) -> bool:
    """Whether it is [N, K]·[K, C] with the constant on the right."""
    data = node.inputs[0]
    rank = graph.rank(data) if data is not None else None
    return side == 1 and rank == 2 and len(shape_of(node, 1)) == 2


def _gemm(node: ir.Node, weight: Constant, bias: Float64) -> Edit:
    constants = {1: weight, _GEMM_BIAS: Constant(bias, weight.dtype)}
    return Edit(node, constants, "Gemm")
