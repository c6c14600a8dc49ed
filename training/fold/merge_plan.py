"""Which addends of a sum become one convolution, and what the nodes become: changes nothing.

A group are the addends that one value feeds: convolutions and poolings of it, and itself, each
times its factor. The convolution that most of the others fit into is the host. What does not belong
to the host stays an addend, as large a piece of the tree as possible, if it counts once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.apply import folded_layers
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit, Insertion
from training.fold.rules.branches import (
    Branch,
    average,
    convolution,
    does_not_fit,
    embedded,
    identity,
)
from training.fold.rules.checks import dtype_of
from training.fold.sums import JOINS, Slot, Sum

_FED = ("Conv", "AveragePool", "BatchNormalization")  # of one value, in a group of it
_SUM_BROADCASTS = 8  # the opset from which Sum takes operands of different shapes


@dataclass(frozen=True, eq=False)
class Merge:
    """One merge, not yet done: a `Rewrite`. `opened` are the nodes of the tree that went along."""

    edits: tuple[Edit, ...]
    folded_into: ir.Node
    replaced: ir.Value
    by: ir.Value
    removed: tuple[ir.Node, ...]
    layers: tuple[str, ...]
    opened: frozenset[ir.Node]
    branches: tuple[str, ...]
    bypassed: tuple[tuple[ir.Node, int], ...] = ()
    inserted: tuple[Insertion, ...] = ()

    @property
    def altered_values(self) -> tuple[ir.Value, ...]:
        return tuple(value for edit in self.edits for value in edit.node.outputs)


@dataclass(eq=False)
class Group:
    """Addends that one value feeds: convolutions and poolings of it, and places where it stands
    itself. `shared` are nodes that something else reads too, with words for that."""

    convolutions: list[Slot] = field(default_factory=list)
    poolings: list[Slot] = field(default_factory=list)
    itself: list[Slot] = field(default_factory=list)
    shared: list[tuple[ir.Node, str]] = field(default_factory=list)

    @property
    def members(self) -> list[Slot]:
        return [*self.convolutions, *self.poolings, *self.itself]


@dataclass(frozen=True, eq=False)
class Refused:
    """A group that stays; `inner` where sums inside the tree may fare better."""

    group: Group
    reason: Refusal
    inner: bool = False


def groups(tree: Sum) -> list[Group]:
    """The groups that a convolution may take in: two addends or more, a convolution among them."""
    found: dict[ir.Value, Group] = {}
    for leaf in tree.leaves:
        node = leaf.value.producer()
        if node is not None and graph.is_op(node, *_FED) and node.inputs and node.inputs[0]:
            group = found.setdefault(graph.source(node.inputs[0]), Group())
            if _add(group, leaf, node):
                continue
        found.setdefault(graph.source(leaf.value), Group()).itself.append(leaf)
    return [
        group
        for group in found.values()
        if group.convolutions and len(group.members) + len(group.shared) > 1
    ]


def _add(group: Group, leaf: Slot, node: ir.Node) -> bool:
    """Adds the leaf to the group of what feeds its node; False where it is no addend of that."""
    assert leaf.above is not None  # the root was opened, so it is no leaf
    others = graph.readers(leaf.value, besides=_opened(leaf.above))
    if others:
        group.shared.append((node, f"{graph.describe(node)} also feeds {', '.join(others)}"))
    elif node.op_type == "Conv":
        group.convolutions.append(leaf)
        return True
    elif node.op_type == "AveragePool":
        group.poolings.append(leaf)
        return True
    return False


Branches = list[tuple[Slot, Branch]]


def plan(tree: Sum, group: Group) -> Merge | Refused:
    """The merge of the addends of `group` that fit together."""
    fitting, refusals = _fitting(group)
    if len(fitting) < 2:
        reasons = [*(refusal.reason for refusal in refusals), *(words for _, words in group.shared)]
        return Refused(group, Refusal("; ".join(dict.fromkeys(reasons))))
    above = {slot for member, _ in fitting for slot in member.upward()}
    absorbed = [slot for slot in tree.slots if slot in above]
    raised = _raised(absorbed, fitting[0][1].weight.ndim)
    if raised is not None:
        return Refused(group, raised, inner=True)
    channels = len(fitting[0][1].weight)
    numbers = [*(slot.factor for slot, _ in fitting), *map(_shift, absorbed)]
    if any(number.size not in (1, channels) for number in numbers):
        return Refused(group, Refusal(f"a constant in the sum is not one for {channels} channels"))
    rest = _rest(tree, {slot for slot, _ in fitting}, above)
    refusal = _cannot_stay(rest, _opened(tree.root))
    if refusal is not None:
        return Refused(group, refusal, inner=True)
    gone = [_node(slot) for slot, _ in fitting[1:] if slot not in group.itself]
    return _merge(fitting, absorbed, [slot.value for slot in rest], gone)


def _raised(absorbed: list[Slot], rank: int) -> Refusal | None:
    """Refuses where an addend with more dimensions makes the sum one of more: axis 1 of a constant
    there is another axis of the convolution."""
    for slot in absorbed:
        found = graph.rank(slot.value)
        if found != rank:
            words = "an unknown number of" if found is None else str(found)
            return Refusal(
                f"'{slot.value.name}' has {words} dimensions where the convolution has {rank}"
            )
    return None


def _cannot_stay(rest: list[Slot], root: ir.Node) -> Refusal | None:
    scaled = [f"'{s.value.name}'" for s in rest if s.factor.size != 1 or s.factor[0] != 1]
    if scaled:
        return Refusal(f"{' and '.join(scaled)} in the same sum would be left without its factor")
    one_node = len(rest) < 2 or graph.opset(root) >= _SUM_BROADCASTS
    if rest and not (root.op_type in JOINS and one_node):
        return Refusal(f"{graph.describe(root)} cannot hold what is left of the sum")
    return None


def _fitting(group: Group) -> tuple[Branches, list[Refusal]]:
    """The host and what fits into it, the host first; why the others do not."""
    read = [(slot, convolution(_node(slot))) for slot in group.convolutions]
    refusals = [branch for _, branch in read if isinstance(branch, Refusal)]
    hosts = [(slot, branch) for slot, branch in read if isinstance(branch, Branch)]
    best: tuple[Branches, list[Refusal]] = ([], [])
    for slot, host in hosts:
        others: list[tuple[Slot, Branch | Refusal]] = [
            *((s, b) for s, b in hosts if s is not slot),
            *((s, average(_node(s), host)) for s in group.poolings),
            *((s, identity(f"'{s.value.name}' itself", host)) for s in group.itself),
        ]
        fitting, declined = _split(slot, host, others)
        if _rank(fitting) > _rank(best[0]):
            best = fitting, declined
    return best[0], [*refusals, *best[1]]


def _split(
    slot: Slot, host: Branch, others: Iterable[tuple[Slot, Branch | Refusal]]
) -> tuple[Branches, list[Refusal]]:
    fitting, declined = [(slot, host)], list[Refusal]()
    for other, branch in others:
        refusal = branch if isinstance(branch, Refusal) else does_not_fit(branch, host)
        if isinstance(refusal, Refusal):
            declined.append(refusal)
        elif isinstance(branch, Branch):
            fitting.append((other, branch))
    return fitting, declined


def _rank(fitting: Branches) -> tuple[int, int]:
    """Most branches first; of hosts that take the same in, the smaller. One that takes nothing in
    is only looked at for its refusals, and those of the largest say most."""
    size = fitting[0][1].weight.size if fitting else 0
    return len(fitting), -size if len(fitting) > 1 else size


def _node(slot: Slot) -> ir.Node:
    node = slot.value.producer()
    assert node is not None  # the slot is a convolution or a pooling
    return node


def _shift(slot: Slot) -> Float64:
    assert slot.shift is not None  # the slot was opened
    return slot.shift


def _rest(tree: Sum, merged: set[Slot], absorbed: set[Slot]) -> list[Slot]:
    """The tops of what is left of the tree, each once, in the order of the tree."""
    tops: dict[Slot, None] = {}
    for leaf in tree.leaves:
        if leaf not in merged:
            path = [leaf, *leaf.upward()]
            tops[next(s for s in path if s.above in absorbed)] = None
    return list(tops)


def _merge(
    fitting: Branches, absorbed: list[Slot], rest: list[ir.Value], gone: list[ir.Node]
) -> Merge:
    host, opened, root = _node(fitting[0][0]), [_opened(s) for s in absorbed], absorbed[0].value
    edits, by, removed = [Edit(host, _constants(fitting, absorbed))], host.outputs[0], opened
    if rest:
        kind, by, removed = "Add" if len(rest) == 1 else "Sum", root, opened[1:]
        edits.append(Edit(opened[0], {}, kind, inputs=(host.outputs[0], *rest)))
    return Merge(
        tuple(edits),
        folded_into=host,
        replaced=root,
        by=by,
        removed=(*removed, *gone),
        layers=tuple(name for node in gone for name in folded_layers(node.metadata_props)),
        opened=frozenset(opened),
        branches=tuple(branch.words for _, branch in fitting),
    )


def _opened(slot: Slot) -> ir.Node:
    assert slot.node is not None  # the slot is no leaf
    return slot.node


def _constants(fitting: Branches, absorbed: list[Slot]) -> dict[int, Constant]:
    slot, host = fitting[0]
    dtype = dtype_of(_node(slot), 1)
    weight, bias = np.zeros(host.weight.shape), np.zeros(len(host.weight))
    for member, branch in fitting:
        per_channel = member.factor.reshape(-1, *[1] * (host.weight.ndim - 1))
        weight += per_channel * embedded(branch, host)
        bias += member.factor * branch.bias
    for opened in absorbed:
        bias += _shift(opened)
    return {1: Constant(weight, dtype, axis=0), 2: Constant(bias, dtype)}
