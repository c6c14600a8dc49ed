"""AveragePool, GlobalAveragePool and ReduceMean, the line behind or before.

    mean(m·x + s) = m·mean(x) + s        m and s the same all over what is averaged

A multiplier passes every weighted sum. A shift passes where the weights sum to one: not where
padding counts as zeros (count_include_pad=1 with padding, or with windows beyond the edge).
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.axes import Reduction, pooled, reduction
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on

OP_TYPES = ("AveragePool", "GlobalAveragePool", "ReduceMean")


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    mean = _mean(node, field.rank)
    if isinstance(mean, Refusal):
        return mean
    before = mean.before(field)
    return _refused(node, mean, before) or on(before)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    mean = _mean(node, field.rank)
    if isinstance(mean, Refusal):
        return mean
    return _refused(node, mean, field) or on(mean.after(field))


def _mean(node: ir.Node, rank: int) -> Reduction | Refusal:
    return reduction(node) if node.op_type == "ReduceMean" else pooled(node, rank)


def _refused(node: ir.Node, mean: Reduction, field: Field) -> Refusal | None:
    if not mean.uniform(field):
        return Refusal(f"{graph.describe(node)} averages over what has different lines")
    if field.has_shift and _counts_zeros(node):
        return Refusal(f"{graph.describe(node)} counts padding as zeros, which have no shift")
    return None


def _counts_zeros(node: ir.Node) -> bool:
    if node.op_type != "AveragePool" or not graph.attribute(node, "count_include_pad", 0):
        return False
    if graph.attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return True
    padded = bool(np.any(graph.attribute(node, "pads", (0,))))
    return padded or bool(graph.attribute(node, "ceil_mode", 0))
