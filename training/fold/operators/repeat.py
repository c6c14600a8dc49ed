"""Tile and Expand: entries are repeated, each with its line.

Behind them, the line must be the same for all copies of an entry.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.axes import integers
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.checks import reduced
from training.fold.way import Ways, on

OP_TYPES = ("Tile", "Expand")
_REPEATS = 1


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    if node.op_type == "Tile":
        return _untiled(node, field)
    value = node.inputs[0]
    part = reduced(field, value) if value is not None else None
    return on(part) if part is not None else _differ(node)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it is the size that {graph.describe(node)} makes")
    if node.op_type == "Tile":
        repeats = _repeats(node, field)
        if isinstance(repeats, Refusal):
            return repeats
        return on(field.each(lambda array: np.tile(array, repeats)))
    rank = graph.rank(node.outputs[0])
    if rank is None or rank < field.rank:
        return Refusal(f"the dimensions that {graph.describe(node)} makes are not known")
    shape = (*[1] * (rank - field.rank), *field.shape)
    return on(Field(field.multiplier.reshape(shape), field.shift.reshape(shape)))


def _untiled(node: ir.Node, field: Field) -> Ways:
    repeats = _repeats(node, field)
    if isinstance(repeats, Refusal):
        return repeats
    sizes = [size // count for size, count in zip(field.shape, repeats, strict=True)]
    if any(size % count for size, count in zip(field.shape, repeats, strict=True)):
        return _differ(node)
    first = tuple(slice(size) for size in sizes)
    part = Field(field.multiplier[first], field.shift[first])
    for one, all_ in ((part.multiplier, field.multiplier), (part.shift, field.shift)):
        if not np.array_equal(np.tile(one, repeats), all_):
            return _differ(node)
    return on(part)


def _repeats(node: ir.Node, field: Field) -> list[int] | Refusal:
    """How often the line is repeated along each axis: once where it is the same everywhere."""
    if not field.varies:
        return [1] * field.rank
    repeats = integers(node, "repeats", _REPEATS)
    if isinstance(repeats, Refusal):
        return repeats
    if repeats is None or len(repeats) != field.rank or min(repeats) < 1:
        return Refusal(f"how often {graph.describe(node)} repeats is not known")
    return [n if axis in field.varies else 1 for axis, n in enumerate(repeats)]


def _differ(node: ir.Node) -> Refusal:
    return Refusal(f"{graph.describe(node)} makes several channels of one, with different lines")
