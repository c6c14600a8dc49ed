"""The line goes into the constants of what computes the layer's input.

`Backward` folds it whole. `Scaling` is for where that cannot be done: the multiplier goes into the
constants, and the layer becomes an Add of its shift.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.operators import LINEAR, RESPONSES
from training.fold.refusal import Refusal
from training.fold.rules.base import Change, Constant, Insertion, Match, Site
from training.fold.rules.checks import FLOATING
from training.fold.walk import Plan, Walk


class Backward:
    """``BatchNormalization(f(x, W, b))`` becomes ``f(x, W', b')``."""

    name = "backward"

    def find(self, site: Site) -> Match | None:
        return Match(site, (), _change(site))

    def check(self, match: Match) -> Refusal | None:
        return match.found if isinstance(match.found, Refusal) else None

    def rewrite(self, match: Match) -> Change:
        assert isinstance(match.found, Change)  # `check` comes first
        return match.found


class Scaling(Backward):
    """``BatchNormalization(f(x, W))`` becomes ``f(x, W') + s``."""

    name = "scaling"

    def find(self, site: Site) -> Match | None:
        return Match(site, (), _change(site, shift_stays=True)) if site.line.shift.any() else None


def _change(site: Site, shift_stays: bool = False) -> Change | Refusal:
    if graph.constant(site.data) is not None:
        return Refusal(f"its input '{site.data.name}' is a constant")
    field = _field(site)
    if isinstance(field, Refusal):
        return field
    wanted = field.without_shift() if shift_stays else field
    walk = Walk(LINEAR if shift_stays else RESPONSES)
    plan = walk.backward(site.data, wanted, (site.node, 0))
    if isinstance(plan, Refusal):
        return plan
    tangle = plan.tangle()
    if tangle is not None:
        return tangle
    if not plan.edits:
        return Refusal("nothing before it has constants to take it in")
    by = _behind(site.data, plan)
    return _done(site, plan, by, _added(site, by, field) if shift_stays else None)


def _field(site: Site) -> Field | Refusal:
    rank = graph.rank(site.data)
    if rank is None:
        rank = graph.rank(site.output)
    if rank is None or rank < 2:
        return Refusal(f"the dimensions of its input '{site.data.name}' are not known")
    return Field.along(site.line, 1, rank)


def _behind(value: ir.Value, plan: Plan) -> ir.Value:
    """The value that takes the place of `value` when the bypassed nodes have gone."""
    bypassed = dict(plan.bypassed)
    node = value.producer()
    while node is not None and node in bypassed:
        given = node.inputs[bypassed[node]]
        assert given is not None
        value, node = given, given.producer()
    return value


def _added(site: Site, by: ir.Value, field: Field) -> Insertion | Refusal:
    dtype = graph.dtype(site.data) or graph.dtype(site.output)
    if dtype not in FLOATING:
        return Refusal(f"the type of its input '{site.data.name}' is not known")
    shift = field.shift.reshape(field.shape[1:])  # rows need no axis
    return Insertion(by, Constant(np.asarray(shift), dtype), ir.Value())


def _weighty(plan: Plan) -> ir.Node:
    """The furthest node that has a weight with channels; what is on the way has plain constants."""
    weights = [e.node for e in plan.edits if any(c.axis is not None for c in e.constants.values())]
    return weights[-1] if weights else plan.edits[-1].node


def _done(
    site: Site, plan: Plan, by: ir.Value, added: Insertion | Refusal | None
) -> Change | Refusal:
    if isinstance(added, Refusal):
        return added
    into = _weighty(plan)
    kind = into.op_type.lower()
    return Change(
        site,
        plan.edits,
        folded_into=into,
        replaced=site.output,
        by=by,
        output=by if added is None else added.result,
        removed=(site.node,),
        bypassed=plan.bypassed,
        inserted=plan.inserted if added is None else (*plan.inserted, added),
        altered=(*plan.altered, by),
        rule=kind if added is None else f"{kind} + add",
    )
