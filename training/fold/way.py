"""What an operator answers when a line meets it: the ways in which it can take it.

A way edits the operator's own constants, hands lines on to its other side, or both. An operator
that cannot take the line at all answers with a refusal; one that knows several ways gives them in
order of preference, and the walk takes the first that leads to an end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Edit, Insertion


@dataclass(frozen=True, eq=False)
class Way:
    """One way through, or into, an operator.

    `parts` are the lines to go on with: by input position backward, by output position forward;
    none where the operator's constants take the whole line in. With `bypass` the node goes, and
    its readers read that input of it instead.
    """

    edits: tuple[Edit, ...] = ()
    parts: tuple[tuple[int, Field], ...] = ()
    bypass: int | None = None
    inserted: tuple[Insertion, ...] = ()


Ways = Sequence[Way] | Refusal


def on(field: Field, position: int = 0) -> Ways:
    """The one way of an operator that a line just passes."""
    return (Way(parts=((position, field),)),)


class Operator(Protocol):
    """How a line meets a kind of operators. Stateless; changes nothing."""

    @property
    def OP_TYPES(self) -> tuple[str, ...]: ...  # noqa: N802  (a module's constant)

    def backward(self, node: ir.Node, output: int, field: Field) -> Ways:
        """The line is applied to an output; what of the inputs and constants would do the same."""
        ...

    def forward(self, node: ir.Node, position: int, field: Field) -> Ways:
        """The line is applied to an input, and `node` is to read what is before the line."""
        ...
