"""Concat: each part has its own share of the line.

Behind it the line is cut, and every part takes its piece. Before it, the other parts go through
the identity: m = 1, s = 0. Along an axis on which the line is the same there is nothing to cut.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Way, Ways, on

OP_TYPES = ("Concat",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    axis = _axis(node, field)
    if axis not in field.varies:
        return (Way(parts=tuple((i, field) for i in range(len(node.inputs)))),)
    places = _places(node, axis)
    if isinstance(places, Refusal):
        return places
    if places[-1].stop != field.shape[axis]:
        return Refusal(f"{graph.describe(node)} has other channels than the layer")
    parts = (
        (index, field.each(lambda a, p=place: a.take(range(p.start, p.stop), axis)))  # type: ignore[misc]
        for index, place in enumerate(places)
    )
    return (Way(parts=tuple(parts)),)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    axis = _axis(node, field)
    places = _places(node, axis)
    if isinstance(places, Refusal):
        return places
    place = places[position]
    if field.shape[axis] not in (1, len(place)):
        return Refusal(f"{graph.describe(node)} has other channels than the layer")
    shape = tuple(places[-1].stop if i == axis else n for i, n in enumerate(field.shape))
    whole = Field(np.ones(shape), np.zeros(shape))
    at = tuple(
        slice(place.start, place.stop) if i == axis else slice(None) for i in range(len(shape))
    )
    whole.multiplier[at], whole.shift[at] = field.multiplier, field.shift
    return on(whole)


def _axis(node: ir.Node, field: Field) -> int:
    return int(graph.attribute(node, "axis", 1)) % field.rank


def _places(node: ir.Node, axis: int) -> list[range] | Refusal:
    """Where each part lies along the axis."""
    places: list[range] = []
    start = 0
    for value in node.inputs:
        dims = graph.shape(value) if value is not None else None
        size = dims[axis] if dims is not None and axis < len(dims) else None
        if not isinstance(size, int):
            return Refusal(f"the sizes of the parts of {graph.describe(node)} are not known")
        places.append(range(start, start + size))
        start += size
    return places
