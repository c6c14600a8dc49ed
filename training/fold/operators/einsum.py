"""Einsum of one tensor with constants, the line behind it or before it.

    m·Σ x·W = Σ x·(m·W)        Σ (m·x)·W = Σ x·(m·W)

wherever every index that m depends on is an index of W too. An Einsum has no bias: the shift stays
behind.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit
from training.fold.rules.checks import dtype_of, exact, is_constant
from training.fold.way import Way, Ways

OP_TYPES = ("Einsum",)
_DOTS = "..."


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    terms, result = _equation(node)
    return _into_operand(node, field, result, terms)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    terms, _ = _equation(node)
    return _into_operand(node, field, terms[position], terms)


def _into_operand(node: ir.Node, field: Field, labels: str, terms: list[str]) -> Ways:
    if field.has_shift:
        return Refusal(f"{graph.describe(node)} has no bias to take the shift")
    axes = _labels(labels, field.rank)
    if axes is None:
        return Refusal(f"the indices '{labels}' of {graph.describe(node)} are no axes of their own")
    needed = {axes[axis] for axis in field.varies}
    for position, term in enumerate(terms):
        usable = len(set(term)) == len(term) and _DOTS not in term and needed <= set(term)
        if usable and is_constant(node, position, "operand") is None:
            return _scaled(node, position, term, _arranged(field, axes, term))
    return Refusal(f"no constant operand of {graph.describe(node)} has the indices of the channels")


def _scaled(node: ir.Node, position: int, term: str, multiplier: Float64) -> Ways:
    weight = exact(node, position)
    scaled = weight * multiplier
    if scaled.shape != weight.shape:
        return Refusal(f"{graph.describe(node)} has other channels than the layer")
    return (Way((Edit(node, {position: Constant(scaled, dtype_of(node, position))}),)),)


def _equation(node: ir.Node) -> tuple[list[str], str]:
    """The index letters of each operand and of the result, as written or as implied."""
    equation = graph.attribute(node, "equation", "").replace(" ", "")
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    if not arrow:
        letters = given.replace(_DOTS, "").replace(",", "")
        once = "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
        result = (_DOTS if _DOTS in given else "") + once
    return terms, result


def _labels(term: str, rank: int) -> list[str] | None:
    """An index for each axis; those that dots stand for are numbered. None if one is repeated."""
    before, dots, after = term.partition(_DOTS)
    hidden = [str(i) for i in range(rank - len(before) - len(after))] if dots else []
    axes = [*before, *hidden, *after]
    return axes if len(axes) == rank and len(set(axes)) == rank else None


def _arranged(field: Field, axes: list[str], term: str) -> Float64:
    """The multiplier with the axes of the operand, in its order."""
    kept = [axis for axis in range(field.rank) if axes[axis] in term]
    dropped = tuple(axis for axis in range(field.rank) if axis not in kept)
    letters = [axes[axis] for axis in kept]
    squeezed = field.multiplier.squeeze(dropped)
    order = sorted(range(len(letters)), key=lambda index: term.index(letters[index]))
    ordered = squeezed.transpose(order)
    absent = tuple(index for index, letter in enumerate(term) if letter not in letters)
    return np.asarray(np.expand_dims(ordered, absent))
