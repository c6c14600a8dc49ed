"""MatMul [→ Add] → BatchNormalization becomes MatMul → Add, or Gemm where there was no Add.

    m·(x·W + b) + s  =  x·(W·diag m) + (m·b + s)

x is [N, K] and W a constant [K, C]: only then are the result's columns the channels (axis 1) that
the line acts on. With more dimensions, axis 1 of the result is one of its rows.
"""

import onnx_ir as ir

from training import graph
from training.fold.refusal import Refusal
from training.fold.rules.base import Change, Constant, Edit, Match, Site, into_producer
from training.fold.rules.checks import (
    dtype_of,
    exact,
    has_channels,
    is_constant,
    is_per_column,
    read_alone,
    shape_of,
)

_WEIGHT, _GEMM_BIAS = 1, 2


class MatMulBatchNormalization:
    """Replaces ``BatchNormalization(MatMul(x, W))`` with ``Gemm(x, W', b')``, and
    ``BatchNormalization(Add(MatMul(x, W), b))`` with ``Add(MatMul(x, W'), b')``."""

    name = "matmul"

    def find(self, site: Site) -> Match | None:
        last = site.data.producer()
        if last is None or not graph.is_op(last, "MatMul", "Add"):
            return None
        if last.op_type == "MatMul":
            return Match(site, (last,))
        for value in last.inputs:
            matmul = value.producer() if value is not None else None
            if matmul is not None and graph.is_op(matmul, "MatMul"):
                return Match(site, (matmul, last))
        return None

    def check(self, match: Match) -> Refusal | None:
        matmul, *adds = match.nodes
        return (
            read_alone(match)
            or is_constant(matmul, _WEIGHT, "right operand")
            or _fits(matmul, match.site)
            or next((_addend_refusal(add, match) for add in adds), None)
        )

    def rewrite(self, match: Match) -> Change:
        matmul, *adds = match.nodes
        line, dtype = match.site.line, dtype_of(matmul, _WEIGHT)
        weight = Constant(exact(matmul, _WEIGHT) * line.multiplier, dtype, axis=1)
        if not adds:
            edit = Edit(matmul, {_WEIGHT: weight, _GEMM_BIAS: Constant(line.shift, dtype)}, "Gemm")
            return into_producer(match, edit)
        (add,) = adds
        position = _addend(add, matmul)
        bias = line.multiplier * exact(add, position).reshape(-1) + line.shift
        return into_producer(
            match,
            Edit(matmul, {_WEIGHT: weight}),
            Edit(add, {position: Constant(bias, dtype)}),
        )


def _addend(add: ir.Node, matmul: ir.Node) -> int:
    """The position of the operand that is not the product."""
    return 1 if add.inputs[0] is matmul.outputs[0] else 0


def _fits(matmul: ir.Node, site: Site) -> Refusal | None:
    data, weight = matmul.inputs[0], shape_of(matmul, _WEIGHT)
    rank = graph.rank(matmul.outputs[0])
    if rank is None and data is not None:
        rank = graph.rank(data)
    if len(weight) != 2 or rank != 2:
        known = "an unknown number of" if rank is None else str(rank)
        return Refusal(
            f"{graph.describe(matmul)} gives {known} dimensions by a weight of shape "
            f"{list(weight)}: channels are its columns only where both have 2"
        )
    return has_channels(matmul, site.line, weight[1])


def _addend_refusal(add: ir.Node, match: Match) -> Refusal | None:
    position, columns = _addend(add, match.nodes[0]), match.site.line.channels
    refusal = is_constant(add, position, "addend")
    if refusal is not None:
        return refusal
    shape = shape_of(add, position)
    if not is_per_column(shape, columns):
        return Refusal(
            f"the addend of {graph.describe(add)} has shape {list(shape)}: "
            f"it is not one number for each of {columns} columns"
        )
    return None
