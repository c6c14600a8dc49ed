"""Which axes an operator works on: attributes and constant inputs, negative ones counted."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal


def integers(node: ir.Node, name: str, position: int) -> list[int] | Refusal | None:
    """A list that is an attribute in older opsets and an input in newer ones; None if not given."""
    given = graph.attribute(node, name, None)
    if given is not None:
        return [int(number) for number in given]
    value = node.inputs[position] if position < len(node.inputs) else None
    if value is None:
        return None
    array = graph.constant(value)
    if array is None:
        return Refusal(f"the {name} of {graph.describe(node)} are computed")
    return [int(number) for number in array.reshape(-1)]


@dataclass(frozen=True)
class Reduction:
    """Axes (none negative) of a tensor of `rank` dimensions that are reduced to one entry."""

    axes: tuple[int, ...]
    rank: int
    kept: bool  # as axes of size one

    def uniform(self, field: Field) -> bool:
        """Whether a line at the tensor is the same all over what is reduced."""
        return field.rank == self.rank and not set(field.varies) & set(self.axes)

    def before(self, field: Field) -> Field:
        """A line at the result as one at the tensor."""
        return field if self.kept else field.each(lambda a: np.expand_dims(a, self.axes))

    def after(self, field: Field) -> Field:
        """A line at the tensor as one at the result."""
        return field if self.kept else field.each(lambda a: a.squeeze(self.axes))


def pooled(node: ir.Node, rank: int) -> Reduction:
    """Pooling works on all axes but rows and channels."""
    return Reduction(tuple(range(2, rank)), rank, kept=True)


def reduction(node: ir.Node) -> Reduction | Refusal:
    """What a ReduceMean or ReduceMax reduces."""
    value = node.inputs[0]
    rank = graph.rank(value) if value is not None else None
    axes = integers(node, "axes", 1)
    if isinstance(axes, Refusal):
        return axes
    if rank is None:
        return Refusal(f"the rank of what {graph.describe(node)} reduces is not known")
    if not axes:
        empty = bool(graph.attribute(node, "noop_with_empty_axes", 0))
        axes = [] if empty else list(range(rank))
    normal = tuple(sorted(axis % rank for axis in axes))
    return Reduction(normal, rank, kept=bool(graph.attribute(node, "keepdims", 1)))
