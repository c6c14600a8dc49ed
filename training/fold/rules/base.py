"""What a rule is, and the values that it deals in.

A rule *finds* its pattern around a line, *checks* whether it may fold there, and says what the
nodes would become (*rewrite*). A rule changes nothing: `training.fold.apply` does, after it has
rounded the new constants and seen that the target type holds them. So a rule can be asked
freely, several can be tried on one line, and no rule can forget the rounding or the sharing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from training.fold.affine import Float64, Line
from training.fold.refusal import Refusal


@dataclass(frozen=True, eq=False)
class Site:
    """A per-channel line in the graph: `node` computes it from its first input, on axis 1."""

    layer: str  # the name that the report and the folded node's record use
    node: ir.Node
    line: Line

    @property
    def data(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None  # read_normalization refuses a node without data
        return value

    @property
    def output(self) -> ir.Value:
        return self.node.outputs[0]


@dataclass(frozen=True, eq=False)
class Match:
    """A rule's pattern, found: the neighbours of the site in the order of computation.

    `found` is for a rule that has worked out its change, or its refusal, while it looked.
    """

    site: Site
    nodes: tuple[ir.Node, ...]
    found: "Change | Refusal | None" = None


@dataclass(frozen=True, eq=False)
class Constant:
    """A new constant before its one rounding: float64, the type that it will have, and the axis
    of its output channels (None where an entry's share in a channel cannot be told)."""

    exact: Float64
    dtype: ir.DataType
    axis: int | None = None


@dataclass(frozen=True, eq=False)
class Edit:
    """What becomes of one node: constants by input position; attributes go back to defaults.

    `inputs`, where given, are all that it reads from then on.
    """

    node: ir.Node
    constants: Mapping[int, Constant]
    op_type: str | None = None
    reset: tuple[str, ...] = field(default=())
    inputs: tuple[ir.Value, ...] | None = None


@dataclass(frozen=True, eq=False)
class Insertion:
    """An Add of a constant behind `value`: what read `value` reads `result`, which takes its name.

    `result` is not in the graph yet.
    """

    value: ir.Value
    shift: Constant
    result: ir.Value


@dataclass(frozen=True, eq=False)
class Change:
    """One fold, not yet done.

    The `removed` nodes go, after the readers of `replaced` read `by` instead; where the change
    alters what `by` holds, it takes the name of `replaced`. So do the `bypassed` nodes, whose
    readers read the input at the given position. `folded_into` records the layer, and `output` is
    the value that equals the layer's output from then on; None if there is none. `altered` are the
    values that hold something else from then on, by default the outputs of what is edited; `rule`
    is what did it, where the rule's own name says too little.
    """

    site: Site
    edits: tuple[Edit, ...]
    folded_into: ir.Node
    replaced: ir.Value
    by: ir.Value
    output: ir.Value | None
    removed: tuple[ir.Node, ...]
    bypassed: tuple[tuple[ir.Node, int], ...] = ()
    inserted: tuple[Insertion, ...] = ()
    altered: tuple[ir.Value, ...] | None = None
    rule: str | None = None

    @property
    def altered_values(self) -> tuple[ir.Value, ...]:
        if self.altered is not None:
            return self.altered
        return tuple(value for edit in self.edits for value in edit.node.outputs)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.site.layer,)


class Rewrite(Protocol):
    """What `training.fold.apply` needs to know of a `Change`; any number of layers goes with it."""

    @property
    def edits(self) -> tuple[Edit, ...]: ...
    @property
    def folded_into(self) -> ir.Node: ...
    @property
    def replaced(self) -> ir.Value: ...
    @property
    def by(self) -> ir.Value: ...
    @property
    def removed(self) -> tuple[ir.Node, ...]: ...
    @property
    def bypassed(self) -> tuple[tuple[ir.Node, int], ...]: ...
    @property
    def inserted(self) -> tuple[Insertion, ...]: ...
    @property
    def altered_values(self) -> tuple[ir.Value, ...]: ...
    @property
    def layers(self) -> tuple[str, ...]: ...


def into_producer(match: Match, *edits: Edit) -> Change:
    """The change of every fold backward: the pattern's first node takes the line in, and what its
    last one computes is what the line's node computed."""
    site, by = match.site, match.nodes[-1].outputs[0]
    return Change(site, edits, match.nodes[0], site.output, by, by, removed=(site.node,))


@dataclass(frozen=True)
class Rewritten:
    """A fold that was done: by which rule, into which node (by name)."""

    rule: str
    folded_into: str


class Rule(Protocol):
    """Stateless. `name` is what reports and refusals call it."""

    @property
    def name(self) -> str: ...

    def find(self, site: Site) -> Match | None:
        """The pattern around `site`, or None in silence: another rule may know the place."""
        ...

    def check(self, match: Match) -> Refusal | None:
        """Why the pattern, though it is there, cannot be folded exactly."""
        ...

    def rewrite(self, match: Match) -> Change:
        """What the nodes become. Only called where `check` gave None."""
        ...
