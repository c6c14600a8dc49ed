"""Slice: the line is cut with the tensor; what is cut off goes through the identity, m = 1, s = 0.

Along an axis on which the line is everywhere the same there is nothing to cut. Starts, ends, axes
and steps are attributes in older opsets and inputs in newer ones, any step but zero.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.axes import integers
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("Slice",)
_GIVEN = ("starts", "ends", "axes", "steps")  # as attributes, or as inputs 1 to 4


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    cut = _cut(node, field.rank)
    if isinstance(cut, Refusal):
        return cut if _meets(node, field) else on(field)
    dims = graph.shape(node.inputs[0]) if node.inputs[0] is not None else None
    shape, places = list(field.shape), [slice(None)] * field.rank
    for axis in set(cut) & set(field.varies):
        size = dims[axis] if dims is not None and axis < len(dims) else None
        if not isinstance(size, int):
            return Refusal(f"the sizes of what {graph.describe(node)} cuts are not known")
        if len(range(size)[cut[axis]]) != field.shape[axis]:
            return Refusal(f"{graph.describe(node)} has other channels than the layer")
        shape[axis], places[axis] = size, cut[axis]
    whole = Field(np.ones(shape), np.zeros(shape))
    whole.multiplier[tuple(places)] = field.multiplier
    whole.shift[tuple(places)] = field.shift
    return on(whole)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it says where {graph.describe(node)} cuts")
    cut = _cut(node, field.rank)
    if isinstance(cut, Refusal):
        return cut if _meets(node, field) else on(field)
    kept = slice(None)
    places = tuple(cut.get(a, kept) if a in field.varies else kept for a in range(field.rank))
    part = field.each(lambda array: array[places])
    return on(part) if part.multiplier.size else Refusal(f"{graph.describe(node)} leaves nothing")


def _cut(node: ir.Node, rank: int) -> dict[int, slice] | Refusal:
    """What is kept along each axis that is cut; ONNX counts as Python does."""
    lists: list[list[int] | None] = []
    for position, name in enumerate(_GIVEN, start=1):
        numbers = integers(node, name, position)
        if isinstance(numbers, Refusal):
            return numbers
        lists.append(numbers)
    starts, ends, axes, steps = lists
    if starts is None or ends is None:
        return Refusal(f"where {graph.describe(node)} cuts is not given")
    axes = axes if axes is not None else list(range(len(starts)))
    steps = steps if steps is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        return Refusal(f"where {graph.describe(node)} cuts cannot be read")
    return {
        axis % rank: slice(start, _end(end, step), step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }


def _meets(node: ir.Node, field: Field) -> bool:
    """Whether a cut whose places are computed may be along an axis on which the line varies."""
    axes = integers(node, "axes", 3)
    if axes is None or isinstance(axes, Refusal):
        return bool(field.varies)
    return bool({axis % field.rank for axis in axes} & set(field.varies))


def _end(end: int, step: int) -> int | None:
    """Beyond the first entry, going backward: INT_MIN, as ONNX writes it, is no place."""
    return None if step < 0 and end < -(2**30) else end
