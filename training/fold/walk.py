"""Carries a line through the graph, operator by operator, until constants have taken it in.

Backward, from the layer's input to what computes it; forward, from the layer's output to all that
read it. A value on the way backward must be read on the way alone, and forward every reader must
take the line: else another part of the network would change. Reading only the shape is no reading.

What an operator does with a line it says itself (`operators`); this file knows none of them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit, Insertion
from training.fold.rules.checks import FLOATING, dtype_of, exact
from training.fold.way import Operator, Way

# Operators visited for one line. It bounds the cost of a fold, so that it is linear in nodes.
_FURTHEST = 200
_SHAPE_READERS = ("Shape", "Size")
Reading = tuple[ir.Node, int]  # a node and the position of the input that it reads


@dataclass(frozen=True, eq=False)
class Plan:
    """What a walk would do; `visited` are the nodes, in its order, and `altered` the values that
    would hold something else."""

    edits: tuple[Edit, ...] = ()
    bypassed: tuple[tuple[ir.Node, int], ...] = ()
    inserted: tuple[Insertion, ...] = ()
    visited: tuple[ir.Node, ...] = ()
    altered: tuple[ir.Value, ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(
            self.edits + other.edits,
            self.bypassed + other.bypassed,
            self.inserted + other.inserted,
            self.visited + other.visited,
            self.altered + other.altered,
        )

    def tangle(self) -> Refusal | None:
        """Refuses where the line came to one node twice: each answer knows only of itself."""
        twice = next((node for node, n in Counter(self.visited).items() if n > 1), None)
        if twice is None:
            return None
        return Refusal(f"the line would reach {graph.describe(twice)} in two ways")


def _begin(node: ir.Node, way: Way, altered: tuple[ir.Value, ...]) -> Plan:
    bypassed = () if way.bypass is None else ((node, way.bypass),)
    return Plan(way.edits, bypassed, way.inserted, (node,), altered)


class Walk:
    """One line on its way; a new one for each."""

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self._operators = operators
        self._steps = 0

    def backward(self, value: ir.Value, field: Field, reader: Reading) -> Plan | Refusal:
        """So that `value`, as `reader` reads it, has gone through the line."""
        if graph.constant(value) is not None:
            return _into_constant(field, reader)
        node = value.producer()
        if node is None:
            return Refusal(_no_producer(value))
        operator = self._operator(node, "comes from")
        if isinstance(operator, Refusal):
            return operator
        others = _other_readers(value, reader)
        if others is not None:
            return others
        return self._producer(operator, value, field)

    def _producer(self, operator: Operator, value: ir.Value, field: Field) -> Plan | Refusal:
        node = value.producer()
        assert node is not None
        ways = operator.backward(node, node.outputs.index(value), field)
        plan: Plan | Refusal = ways if isinstance(ways, Refusal) else Refusal("there is no way")
        for way in () if isinstance(ways, Refusal) else ways:
            plan = _begin(node, way, (value,))
            for position, part in way.parts:
                given = node.inputs[position]
                if given is None or (part.is_identity and way.bypass is None):
                    continue
                further = self.backward(given, part, (node, position))
                if way.bypass is not None and graph.constant(given) is not None:
                    further = Refusal(f"{graph.describe(node)} is computed from constants alone")
                if isinstance(further, Refusal):
                    plan = further
                    break
                plan += further
            if isinstance(plan, Plan):
                return plan
        return plan

    def forward(self, value: ir.Value, field: Field) -> Plan | Refusal:
        """So that all readers of `value` compute what they would if it went through the line."""
        if value.is_graph_output():
            return Refusal(f"'{value.name}' is the network's output")
        plan = Plan(altered=(value,))
        uses = [use for use in value.uses() if not graph.is_op(use.node, *_SHAPE_READERS)]
        if not uses:
            return Refusal(f"nothing reads '{value.name}'")
        for node, position in uses:
            if node.graph is not value.graph:
                return Refusal(f"{graph.describe(node)} reads '{value.name}' in a subgraph")
            taken = self._reader(node, position, field)
            if isinstance(taken, Refusal):
                return taken
            plan += taken
        return plan

    def _reader(self, node: ir.Node, position: int, field: Field) -> Plan | Refusal:
        operator = self._operator(node, "goes to")
        if isinstance(operator, Refusal):
            return operator
        ways = operator.forward(node, position, field)
        plan: Plan | Refusal = ways if isinstance(ways, Refusal) else Refusal("there is no way")
        for way in () if isinstance(ways, Refusal) else ways:
            if way.bypass is not None and node.outputs[0].is_graph_output():
                plan = Refusal(f"{graph.describe(node)} computes an output of the network")
                continue
            plan = _begin(node, way, ())
            for output, part in way.parts:
                if part.is_identity or not _is_read(node.outputs[output]):
                    continue
                further = self.forward(node.outputs[output], part)
                if isinstance(further, Refusal):
                    plan = further
                    break
                plan += further
            if isinstance(plan, Plan):
                return plan
        return plan

    def _operator(self, node: ir.Node, how: str) -> Operator | Refusal:
        self._steps += 1
        if self._steps > _FURTHEST:
            return Refusal(f"there are more than {_FURTHEST} operators between it and a weight")
        known = self._operators.get(node.op_type) if graph.is_op(node, node.op_type) else None
        return known or Refusal(f"it {how} {graph.describe(node)}, which no line can pass")


def _is_read(value: ir.Value) -> bool:
    return bool(value.name) and (bool(value.uses()) or value.is_graph_output())


def _other_readers(value: ir.Value, reader: Reading) -> Refusal | None:
    uses = [use for use in value.uses() if not graph.is_op(use.node, *_SHAPE_READERS)]
    if len(uses) == 1 and not value.is_graph_output():
        return None
    node = value.producer()
    assert node is not None
    others = ", ".join(graph.readers(value, besides=reader[0]))
    return Refusal(f"{graph.describe(node)} also feeds {others}")


def _no_producer(value: ir.Value) -> str:
    if value.is_graph_input():
        return f"'{value.name}' is the network's input"
    return f"'{value.name}' is not a dense constant"


def _into_constant(field: Field, reader: Reading) -> Plan | Refusal:
    """The reader gets a constant that has gone through the line."""
    node, position = reader
    dtype, held = dtype_of(node, position), exact(node, position)
    if dtype not in FLOATING:
        return Refusal(f"an input of {graph.describe(node)} is of type {dtype.name}")
    lined = field.multiplier * held + field.shift
    if lined.shape != held.shape:
        return Refusal(
            f"a constant input of {graph.describe(node)} has shape {list(held.shape)}: "
            f"it is one for several channels of the line"
        )
    return Plan((Edit(node, {position: Constant(np.asarray(lined), dtype)}),))
