"""Gemm → BatchNormalization becomes Gemm.

    m·(alpha·A·B + beta·C) + s  =  alpha·A·(B·diag m) + (m·beta·C + s)

The line acts on the columns of the [M, N] result: the columns of B, or its rows where transB=1.
beta goes into the new C and returns to its default, 1; alpha and transA stay. C may be absent, or
anything that broadcasts over the rows: a scalar, [1], [N], [1, 1] or [1, N].
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.refusal import Refusal
from training.fold.rules.base import Change, Constant, Edit, Match, Site, into_producer
from training.fold.rules.checks import (
    dtype_of,
    exact,
    has_channels,
    has_input,
    is_constant,
    is_per_column,
    read_alone,
    shape_of,
)

_B, _C = 1, 2


class GemmBatchNormalization:
    """Replaces ``BatchNormalization(Gemm(A, B, C))`` with ``Gemm(A, B', C')``."""

    name = "gemm"

    def find(self, site: Site) -> Match | None:
        gemm = site.data.producer()
        return Match(site, (gemm,)) if gemm is not None and graph.is_op(gemm, "Gemm") else None

    def check(self, match: Match) -> Refusal | None:
        (gemm,) = match.nodes
        return (
            read_alone(match)
            or is_constant(gemm, _B, "weight B")
            or (is_constant(gemm, _C, "bias C") if has_input(gemm, _C) else None)
            or _fits(gemm, match.site)
        )

    def rewrite(self, match: Match) -> Change:
        (gemm,) = match.nodes
        line, dtype, axis = match.site.line, dtype_of(gemm, _B), _column_axis(gemm)
        per_column = np.expand_dims(line.multiplier, 1 - axis)
        edit = Edit(
            gemm,
            {
                _B: Constant(exact(gemm, _B) * per_column, dtype, axis),
                _C: Constant(line.multiplier * _bias(gemm) + line.shift, dtype),
            },
            reset=("beta",),
        )
        return into_producer(match, edit)


def _column_axis(gemm: ir.Node) -> int:
    return 0 if graph.attribute(gemm, "transB", 0) else 1


def _bias(gemm: ir.Node) -> Float64:
    """beta·C as [N] or [1]; zero where there is no C."""
    if not has_input(gemm, _C):
        return np.zeros(1)
    return float(graph.attribute(gemm, "beta", 1.0)) * exact(gemm, _C).reshape(-1)


def _fits(gemm: ir.Node, site: Site) -> Refusal | None:
    weight = shape_of(gemm, _B)
    if len(weight) != 2:
        return Refusal(f"the weight B of {graph.describe(gemm)} has shape {list(weight)}")
    columns = weight[_column_axis(gemm)]
    if has_input(gemm, _C):
        shape = shape_of(gemm, _C)
        if not is_per_column(shape, columns):
            return Refusal(
                f"the bias C of {graph.describe(gemm)} has shape {list(shape)}: "
                f"it differs from row to row, or is no bias of {columns} columns"
            )
    return has_channels(gemm, site.line, columns)
