"""Reads a sum as a tree: its addends, and how many times each counts.

    root = Σ factor·leaf + Σ shift

Opened are Add, Sum and Sub, Mul and Div by a constant per channel, Identity, and normalization
layers, all where nothing but the tree reads them; everything else is a leaf. It changes nothing and
does not know what the leaves are good for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64, Line
from training.fold.rules.checks import FLOATING, dtype_of, exact

JOINS = ("Add", "Sum", "Sub")
_ONE = np.ones(1)
Lines = Mapping[ir.Node, Line]


@dataclass(eq=False)
class Slot:
    """A place in the tree: `value` counts `factor` times, [C] or [1], in the root.

    `node` is what computes it where the tree goes on below; `shift` is what the node itself adds
    to the root, [C] or [1].
    """

    value: ir.Value
    factor: Float64
    above: "Slot | None" = None
    node: ir.Node | None = None
    shift: Float64 | None = None

    def upward(self) -> Iterator["Slot"]:
        """The slots above, nearest first."""
        slot = self.above
        while slot is not None:
            yield slot
            slot = slot.above


@dataclass(frozen=True, eq=False)
class Sum:
    """The tree below a node: all slots, the root first, each before what is below it."""

    slots: tuple[Slot, ...]

    @property
    def root(self) -> Slot:
        return self.slots[0]

    @property
    def leaves(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.node is None]

    @property
    def opened(self) -> list[ir.Node]:
        return [slot.node for slot in self.slots if slot.node is not None]


def read_sum(root: ir.Node, lines: Lines) -> Sum | None:
    """The tree that ends in `root`; None where the node is none of those that are opened.

    `lines` has the normalization layers that may be opened.
    """
    slots = [Slot(root.outputs[0], _ONE)]
    for slot in slots:  # grows while it is read
        node = slot.value.producer()
        reader = slot.above.node if slot.above is not None else None
        if node is None or (reader is not None and graph.readers(slot.value, besides=reader)):
            continue
        terms = _terms(node, lines)
        if terms is None or not _fit(slot.factor, terms):
            continue
        addends, shift = terms
        slot.node, slot.shift = node, slot.factor * shift
        slots += [Slot(value, slot.factor * factor, slot) for value, factor in addends]
    return Sum(tuple(slots)) if slots[0].node is not None else None


Terms = tuple[list[tuple[ir.Value, Float64]], Float64]  # addends and their factors; the constant


def _terms(node: ir.Node, lines: Lines) -> Terms | None:
    values = [value for value in node.inputs if value is not None]
    if node in lines:
        return [(values[0], lines[node].multiplier)], lines[node].shift
    if graph.is_op(node, "Identity"):
        return [(values[0], _ONE)], np.zeros(1)
    if graph.is_op(node, *JOINS):
        return _addends(node, values)
    if graph.is_op(node, "Mul", "Div") and len(values) == 2:
        return _scaled(node, values)
    return None


def _addends(node: ir.Node, values: list[ir.Value]) -> Terms | None:
    addends, shift = list[tuple[ir.Value, Float64]](), np.zeros(1)
    for position, value in enumerate(values):
        sign = -_ONE if node.op_type == "Sub" and position == 1 else _ONE
        constant = _per_channel(node, position)
        if constant is None:
            addends.append((value, sign))
        elif not _broadcast(shift, constant):
            return None
        else:
            shift = shift + sign * constant
    return (addends, shift) if addends else None


def _scaled(node: ir.Node, values: list[ir.Value]) -> Terms | None:
    for position in (1, 0) if node.op_type == "Mul" else (1,):
        constant = _per_channel(node, position)
        if constant is not None and (node.op_type == "Mul" or constant.all()):
            factor = constant if node.op_type == "Mul" else 1 / constant
            return [(values[1 - position], factor)], np.zeros(1)
    return None


def _fit(factor: Float64, terms: Terms) -> bool:
    addends, shift = terms
    return all(_broadcast(factor, given) for given in (shift, *(f for _, f in addends)))


def _broadcast(a: Float64, b: Float64) -> bool:
    return a.size == b.size or 1 in (a.size, b.size)


def _per_channel(node: ir.Node, position: int) -> Float64 | None:
    """A constant operand as [C] or [1], where it really broadcasts along axis 1 and no other."""
    array = graph.constant(node.inputs[position])
    if array is None or dtype_of(node, position) not in FLOATING:
        return None
    rank = graph.rank(node.outputs[0])
    if array.ndim and (rank is None or array.ndim > rank or rank < 2):
        return None
    shape = (1,) * ((rank or 0) - array.ndim) + array.shape
    if array.ndim and any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return exact(node, position).reshape(-1)
