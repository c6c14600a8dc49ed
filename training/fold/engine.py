"""Tries the rules on every normalization layer until none applies; collects what came of it.

Linear in nodes: a rule looks at a bounded number of them, and every layer is tried once, then again
while others have folded, at most `_ROUNDS` times: what it refused because of them may have gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from training import graph
from training.fold.affine import OPERATORS, Line, Normalization, read_normalization
from training.fold.apply import Rounded, apply, round_constants
from training.fold.refusal import Refusal
from training.fold.rules.base import Change, Rewritten, Rule, Site
from training.fold.rules.checks import current_line
from training.graph import Names

_ROUNDS = 4


@dataclass(eq=False)
class Layer:
    """One normalization layer of the network and what came of it; `output` is the value that
    equals the layer's output now, None where the folded network no longer computes it."""

    name: str
    node: ir.Node
    read: Normalization | Refusal
    outcome: Rewritten | Refusal
    output: ir.Value | None
    line: Line | None = None  # since another layer has folded into this one

    @property
    def site(self) -> Site | None:
        """Where rules may look; None for a layer that is no line, or has folded."""
        if isinstance(self.read, Refusal) or isinstance(self.outcome, Rewritten):
            return None
        return Site(self.name, self.node, self.line or self.read.line)


def find_layers(model: ir.Model) -> list[Layer]:
    """Every normalization layer in network order, those in subgraphs and functions included."""
    found = list(_normalization_nodes(model))
    names = graph.unique(graph.layer_name(node) for node, _ in found)
    return [_read(name, node, outside) for name, (node, outside) in zip(names, found, strict=True)]


def _normalization_nodes(model: ir.Model) -> Iterator[tuple[ir.Node, str | None]]:
    """The nodes, and in words where each is when that is not the main graph."""
    for node in RecursiveGraphIterator(model.graph):
        if graph.is_op(node, *OPERATORS):
            inside = node.graph
            outside = None if inside is model.graph else f"the subgraph '{_name(inside)}'"
            yield node, outside
    for function in model.functions.values():
        for node in function.all_nodes():
            if graph.is_op(node, *OPERATORS):
                yield node, f"the function '{function.name}'"


def _name(inside: ir.Graph | ir.Function | None) -> str:
    return (inside.name if inside is not None else None) or "?"


def _read(name: str, node: ir.Node, outside: str | None) -> Layer:
    read: Normalization | Refusal
    if outside is not None:
        read = Refusal(f"it is inside {outside}, where nothing is folded")
    else:
        read = read_normalization(node, name)
    untried = Refusal("no rule was tried") if isinstance(read, Normalization) else read
    return Layer(name, node, read, untried, node.outputs[0] if outside is None else None)


def fold_layers(model: ir.Model, layers: Sequence[Layer], rules: Sequence[Rule]) -> None:
    """Folds in place whatever `rules` can, in network order, and writes each layer's outcome."""
    names = Names(model)
    by_node = {layer.node: layer for layer in layers}
    holders = {layer.output: layer for layer in layers if layer.output is not None}
    pending = list(layers)
    for _ in range(_ROUNDS):
        left: list[Layer] = []
        for layer in pending:
            if layer.site is None:
                continue
            decision = _decide(layer.site, rules)
            if isinstance(decision, Refusal):
                layer.outcome = decision
                left.append(layer)
                continue
            _fold(layer, decision, names)
            _move_output(layer, decision.change, holders)
            _reread(decision.change, by_node)
        if len(left) == len(pending):
            return
        pending = left


def _fold(layer: Layer, decision: "_Decision", names: Names) -> None:
    into = graph.node_name(decision.change.folded_into)
    apply(decision.change, decision.rounded, names)
    layer.outcome = Rewritten(decision.rule, into)


def _reread(change: Change, by_node: Mapping[ir.Node, Layer]) -> None:
    """A layer that took another one in has another line from now on."""
    for edit in change.edits:
        if edit.node in by_node:
            by_node[edit.node].line = current_line(edit.node)


def _move_output(layer: Layer, change: Change, holders: dict[ir.Value, Layer]) -> None:
    """The layer's output moves; a tensor whose content changed is no other layer's any more."""
    for altered in change.altered_values:
        if altered in holders:
            holders.pop(altered).output = None
    for insertion in change.inserted:  # the sum holds what the value held
        if insertion.value in holders:
            holders[insertion.result] = holders.pop(insertion.value)
            holders[insertion.result].output = insertion.result
    holders.pop(change.site.output, None)
    layer.output = change.output
    if change.output is not None:
        holders[change.output] = layer


@dataclass(frozen=True, eq=False)
class _Decision:
    rule: str
    change: Change
    rounded: Rounded


def _decide(site: Site, rules: Sequence[Rule]) -> _Decision | Refusal:
    """The first rule that can, or the reasons of all that found their pattern."""
    refusals: list[Refusal] = []
    for rule in rules:
        match = rule.find(site)
        if match is None:
            continue
        refusal = rule.check(match)
        if refusal is None:
            change = rule.rewrite(match)
            rounded = round_constants(change)
            if not isinstance(rounded, Refusal):
                return _Decision(change.rule or rule.name, change, rounded)
            refusal = rounded
        if all(refusal.reason != given.reason for given in refusals):
            refusals.append(replace(refusal, rule=rule.name))
    if len(refusals) == 1:
        return refusals[0]
    return Refusal("; ".join(map(str, refusals))) if refusals else _no_pattern(site)


def _no_pattern(site: Site) -> Refusal:
    data = site.data
    node = data.producer()
    if node is not None:
        return Refusal(f"its input comes from {graph.describe(node)}, which no rule folds into")
    return Refusal(
        f"its input '{data.name}' is the network's input"
        if data.is_graph_input()
        else f"its input '{data.name}' is a constant, which no rule folds into"
    )
