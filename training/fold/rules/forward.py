"""The line goes into the constants of all that read the layer's output.

    f(m·x + s, W, b)  =  f(x, W', b')

Tried where it cannot go backward: behind an activation or a residual sum, or on the network's
input. The layer's own output is then computed no longer.
"""

from training import graph
from training.fold.field import Field
from training.fold.operators import RESPONSES
from training.fold.refusal import Refusal
from training.fold.rules.base import Change, Match, Site
from training.fold.walk import Walk


class Forward:
    """``f(BatchNormalization(x), W, b)`` becomes ``f(x, W', b')``."""

    name = "forward"

    def find(self, site: Site) -> Match | None:
        return Match(site, (), _change(site))

    def check(self, match: Match) -> Refusal | None:
        return match.found if isinstance(match.found, Refusal) else None

    def rewrite(self, match: Match) -> Change:
        assert isinstance(match.found, Change)  # `check` comes first
        return match.found


def _change(site: Site) -> Change | Refusal:
    rank = graph.rank(site.output)
    if rank is None:
        rank = graph.rank(site.data)
    if rank is None or rank < 2:
        return Refusal(f"the dimensions of its output '{site.output.name}' are not known")
    plan = Walk(RESPONSES).forward(site.output, Field.along(site.line, 1, rank))
    if isinstance(plan, Refusal):
        return plan
    tangle = plan.tangle()
    if tangle is not None:
        return tangle
    if not plan.edits:
        return Refusal("nothing behind it has constants to take it in")
    into = plan.edits[0].node
    return Change(
        site,
        plan.edits,
        folded_into=into,
        replaced=site.output,
        by=site.data,
        output=None,
        removed=(site.node,),
        bypassed=plan.bypassed,
        inserted=plan.inserted,
        altered=plan.altered,
        rule=f"before {into.op_type.lower()}",
    )
