"""ReduceSum, the line behind or before.

    m·Σx + s = Σ (m·x + s/n)        Σ (m·x + s) = m·Σx + n·s        a sum of n entries

m and s are the same over all that is summed; for a shift, n must be known.
"""

from math import prod

import onnx_ir as ir

from training import graph
from training.fold.axes import Reduction, reduction
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("ReduceSum",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    total = reduction(node)
    if isinstance(total, Refusal):
        return total
    count = _count(node, total) if field.has_shift else 1
    if isinstance(count, Refusal):
        return count
    before = total.before(Field.of(field.multiplier, field.shift / count))
    return on(before) if total.uniform(before) else _differ(node)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    total = reduction(node) if position == 0 else Refusal("it says which axes are summed")
    if isinstance(total, Refusal):
        return total
    if not total.uniform(field):
        return _differ(node)
    count = _count(node, total) if field.has_shift else 1
    if isinstance(count, Refusal):
        return count
    return on(total.after(Field.of(field.multiplier, field.shift * count)))


def _count(node: ir.Node, total: Reduction) -> int | Refusal:
    dims = graph.shape(node.inputs[0]) if node.inputs[0] is not None else None
    sizes = [dims[axis] for axis in total.axes] if dims is not None else [None]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes) or prod(known) == 0:
        return Refusal(f"how many entries {graph.describe(node)} sums is not known")
    return prod(known)


def _differ(node: ir.Node) -> Refusal:
    return Refusal(f"{graph.describe(node)} sums what has different lines")
