"""Gather: channels that are selected, permuted or repeated, each with its line; and a table's rows.

    (m·x + s)[indices] = m[indices]·x[indices] + s[indices]

Behind it, entries that are not taken go through the identity; an entry that is taken twice must
have one line. Where the line is the same for all that is taken, what is taken does not matter:
so the line of a layer behind an embedding goes into its table.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("Gather",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    indices, rank = node.inputs[1], _index_rank(node)
    if indices is None or rank is None:
        return Refusal(f"the dimensions of the indices of {graph.describe(node)} are not known")
    before = field.rank - rank + 1  # dimensions of what is gathered from
    axis = int(graph.attribute(node, "axis", 0)) % before
    taken = tuple(range(axis, axis + rank))
    if not set(taken) & set(field.varies):
        return on(field.each(lambda array: np.expand_dims(array.squeeze(taken), axis)))
    return _scattered(node, field, axis)


def _scattered(node: ir.Node, field: Field, axis: int) -> Ways:
    places = _places(node, axis)
    if isinstance(places, Refusal):
        return places
    indices, size = places
    after = (*field.shape[:axis], *indices.shape, *field.shape[axis + indices.ndim :])
    shape = (*after[:axis], size, *after[axis + indices.ndim :])
    arrays: list[Float64] = []
    for array, rest in ((field.multiplier, 1.0), (field.shift, 0.0)):
        whole, spread = np.full(shape, rest), np.broadcast_to(array, after)
        moved = np.moveaxis(whole, axis, 0)
        moved[indices] = np.moveaxis(spread, range(axis, axis + indices.ndim), range(indices.ndim))
        if not np.array_equal(whole.take(indices, axis), spread):
            return Refusal(f"{graph.describe(node)} takes a channel twice, for different lines")
        arrays.append(whole)
    return on(Field(*arrays))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it is the index of {graph.describe(node)}")
    axis, rank = int(graph.attribute(node, "axis", 0)) % field.rank, _index_rank(node)
    if rank is None:
        return Refusal(f"the dimensions of the indices of {graph.describe(node)} are not known")
    if axis not in field.varies:
        ones = tuple(range(axis, axis + rank))
        return on(field.each(lambda array: np.expand_dims(array.squeeze(axis), ones)))
    places = _places(node, axis)
    if isinstance(places, Refusal):
        return places
    indices = places[0]
    if not indices.size:
        return Refusal(f"{graph.describe(node)} takes nothing")
    return on(field.each(lambda array: array.take(indices, axis)))


def _index_rank(node: ir.Node) -> int | None:
    held = graph.constant(node.inputs[1])
    if held is not None:
        return held.ndim
    return graph.rank(node.inputs[1]) if node.inputs[1] is not None else None


def _places(node: ir.Node, axis: int) -> tuple[NDArray[np.int64], int] | Refusal:
    """Which entries along the axis are taken, none negative; and how many there are."""
    held, data = graph.constant(node.inputs[1]), node.inputs[0]
    dims = graph.shape(data) if data is not None else None
    size = dims[axis] if dims is not None and axis < len(dims) else None
    if held is None or not isinstance(size, int):
        return Refusal(f"which channels {graph.describe(node)} takes is not known")
    if held.size and not (-size <= held.min() and held.max() < size):
        return Refusal(f"{graph.describe(node)} takes what is not there")
    return held.astype(np.int64) % size, size
