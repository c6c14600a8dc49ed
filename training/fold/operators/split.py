"""Split: each part has its own share of the line.

Behind it, the entries of the other parts go through the identity: m = 1, s = 0.
Before it, the line is cut, and every part takes its piece.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.axes import integers
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Way, Ways

OP_TYPES = ("Split",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    axis = int(graph.attribute(node, "axis", 0)) % field.rank
    places = _places(node, axis)
    if isinstance(places, Refusal):
        return places
    place = places[output]
    if field.shape[axis] not in (1, len(place)):
        return Refusal(f"{graph.describe(node)} has other channels than the layer")
    shape = tuple(places[-1].stop if i == axis else n for i, n in enumerate(field.shape))
    whole = Field(np.ones(shape), np.zeros(shape))
    at = tuple(
        slice(place.start, place.stop) if i == axis else slice(None) for i in range(len(shape))
    )
    whole.multiplier[at], whole.shift[at] = field.multiplier, field.shift
    return (Way(parts=((0, whole),)),)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    axis = int(graph.attribute(node, "axis", 0)) % field.rank
    if axis not in field.varies:
        return (Way(parts=tuple((i, field) for i in range(len(node.outputs)))),)
    places = _places(node, axis)
    if isinstance(places, Refusal):
        return places
    if places[-1].stop != field.shape[axis]:
        return Refusal(f"{graph.describe(node)} has other channels than the layer")
    return (Way(parts=tuple((i, _taken(field, axis, p)) for i, p in enumerate(places))),)


def _taken(field: Field, axis: int, place: Sequence[int]) -> Field:
    return field.each(lambda array: array.take(place, axis))


def _places(node: ir.Node, axis: int) -> list[range] | Refusal:
    """Where each output lies along the axis."""
    sizes = integers(node, "split", 1)
    dims = graph.shape(node.inputs[0]) if node.inputs[0] is not None else None
    size = dims[axis] if dims is not None and axis < len(dims) else None
    if sizes is None and isinstance(size, int):
        step = -(-size // len(node.outputs))  # the last may be smaller
        sizes = [max(0, min(step, size - step * i)) for i in range(len(node.outputs))]
    if sizes is None or isinstance(sizes, Refusal) or sum(sizes) != size:
        return Refusal(f"the sizes of the parts of {graph.describe(node)} are not known")
    ends = np.cumsum(sizes)
    return [range(int(end) - n, int(end)) for end, n in zip(ends, sizes, strict=True)]
