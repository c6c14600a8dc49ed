"""Merges parallel linear branches of one input into one convolution, wherever they meet in a sum.

`sums` reads a sum, `merge_plan` says what could be merged, `rules.branches` has the algebra; here
is where to look, and what the report says. It runs before the rules, on layers that have not
folded, so that every constant is rounded once.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import onnx_ir as ir

from training import graph
from training.fold.affine import Normalization
from training.fold.apply import apply, round_constants
from training.fold.engine import Layer
from training.fold.merge_plan import Refused, groups, plan
from training.fold.refusal import Refusal
from training.fold.report import BranchMerge
from training.fold.rules.base import Rewritten
from training.fold.sums import JOINS, Sum, read_sum
from training.graph import Names

RULE = "branches"


def merge_branches(model: ir.Model, layers: Sequence[Layer]) -> tuple[BranchMerge, ...]:
    """Merges in place whatever can be merged; what was and what was not, in network order.

    Writes the outcome of the layers that went along. `note_refusals` tells the others.
    """
    merging = _Merging(model, layers)
    done = list[BranchMerge]()
    for node in reversed(list(model.graph)):
        if node.graph is not None and node not in merging.seen:
            done += merging.merge_at(node)
    return tuple(reversed(done))


def note_refusals(layers: Sequence[Layer], merges: Sequence[BranchMerge]) -> None:
    """Adds to each layer that was left why no merge took it in."""
    reasons = {name: merge.refusal for merge in merges for name in merge.layers if merge.refusal}
    for layer in layers:
        if isinstance(layer.outcome, Refusal) and layer.name in reasons:
            layer.outcome = Refusal(f"{layer.outcome}; {RULE}: {reasons[layer.name]}")


class _Merging:
    """What the sums of one network share; `seen` are the nodes that were part of one already."""

    def __init__(self, model: ir.Model, layers: Sequence[Layer]) -> None:
        self.seen = set[ir.Node]()
        self._names = Names(model)
        self._layers = {layer.node: layer for layer in layers if layer.site is not None}
        self._order = {node: index for index, node in enumerate(self._layers)}
        self._lines = {
            node: layer.read.line
            for node, layer in self._layers.items()
            if isinstance(layer.read, Normalization)
        }

    def merge_at(self, root: ir.Node) -> Iterator[BranchMerge]:
        """Merges at one sum until nothing in it belongs together, then at the sums inside it."""
        refused: list[Refused] = []
        while root.graph is not None and (tree := read_sum(root, self._lines)) is not None:
            self.seen.update(tree.opened)
            merge, refused = self._merge_one(tree)
            if merge is not None:
                yield merge
                continue
            inner = _inner(tree) if any(refusal.inner for refusal in refused) else []
            found = [merge for node in inner for merge in self.merge_at(node)]
            yield from found or (self._describe_refused(root, refusal) for refusal in refused)
            return

    def _merge_one(self, tree: Sum) -> tuple[BranchMerge | None, list[Refused]]:
        """Does the first merge that can be done; where there is none, why not."""
        refused: list[Refused] = []
        for group in groups(tree):
            merge = plan(tree, group)
            if isinstance(merge, Refused):
                refused.append(merge)
                continue
            join, gone = graph.node_name(tree.opened[0]), self._taken(merge.opened)
            names = tuple(layer.name for layer in gone)
            merge = replace(merge, layers=(*merge.layers, *names))
            rounded = round_constants(merge)
            if isinstance(rounded, Refusal):
                refused.append(Refused(group, rounded))
                continue
            into, top = graph.node_name(merge.folded_into), tree.opened[0]
            apply(merge, rounded, self._names)
            for layer in gone:
                layer.outcome = Rewritten(RULE, into)
                layer.output = merge.by if layer.node is top else None
            return BranchMerge(join, into, merge.branches, names, None), []
        return None, refused

    def _taken(self, nodes: Collection[ir.Node]) -> list[Layer]:
        """The layers among the nodes, in network order."""
        found = [node for node in nodes if node in self._order]
        return [self._layers[node] for node in sorted(found, key=self._order.__getitem__)]

    def _describe_refused(self, root: ir.Node, refused: Refused) -> BranchMerge:
        group = refused.group
        above = {slot.node for member in group.members for slot in member.upward() if slot.node}
        layers = self._taken(above | {node for node, _ in group.shared})
        values = [member.value.name or "" for member in group.members]
        shared = [node.outputs[0].name or "" for node, _ in group.shared]
        return BranchMerge(
            graph.node_name(root),
            None,
            (*values, *shared),
            tuple(layer.name for layer in layers),
            str(refused.reason),
        )


def _inner(tree: Sum) -> list[ir.Node]:
    """The topmost joins below something else than a join."""
    return [
        slot.node
        for slot in tree.slots[1:]
        if slot.node is not None
        and graph.is_op(slot.node, *JOINS)
        and slot.above is not None
        and not graph.is_op(slot.above.node, *JOINS)
    ]
