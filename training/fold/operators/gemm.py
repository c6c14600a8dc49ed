"""Gemm, the line behind it or before it.

    m·(alpha·A·B + beta·C) + s  =  alpha·A·(B·diag m) + (m·beta·C + s)
    alpha·(A·diag m + s)·B + beta·C  =  alpha·A·(diag m·B) + (beta·C + alpha·s·B)

The line acts on the columns of the [M, N] result, or on those of A (its rows where transA=1). beta
goes into the new C and returns to its default, 1; alpha and transA stay. C may be absent, or
anything that broadcasts to [M, N].
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit
from training.fold.rules.checks import (
    added_bias,
    dtype_of,
    exact,
    has_input,
    is_constant,
    lines_of,
    shape_of,
)
from training.fold.way import Way, Ways

OP_TYPES = ("Gemm",)
_A, _B, _C = 0, 1, 2


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    refusal = _unreadable(node)
    if refusal is not None:
        return refusal
    weight, columns = exact(node, _B), _column_axis(node)
    line = lines_of(node, field, 1, weight.shape[columns])
    if isinstance(line, Refusal):
        return line
    scaled = weight * np.expand_dims(line.multiplier, 1 - columns)
    return _edited(node, scaled, added_bias(line.multiplier, _bias(node), line.shift))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != _A:
        return Refusal(f"it is not the first operand of {graph.describe(node)}")
    refusal = _unreadable(node)
    if refusal is not None:
        return refusal
    weight, columns = exact(node, _B), _column_axis(node)
    depth = 0 if graph.attribute(node, "transA", 0) else 1
    line = lines_of(node, field, depth, weight.shape[1 - columns])
    if isinstance(line, Refusal):
        return line
    scaled = weight * np.expand_dims(line.multiplier, columns)
    shifted = weight * np.expand_dims(line.shift, columns)
    added = float(graph.attribute(node, "alpha", 1.0)) * shifted.sum(axis=1 - columns)
    return _edited(node, scaled, added_bias(1.0, _bias(node), added))


def _edited(node: ir.Node, weight: Float64, bias: Float64 | None) -> Ways:
    dtype = dtype_of(node, _B)
    constants = {_B: Constant(weight, dtype, _column_axis(node))}
    if bias is not None:
        constants[_C] = Constant(bias, dtype)
    return (Way((Edit(node, constants, reset=("beta",)),)),)


def _column_axis(node: ir.Node) -> int:
    return 0 if graph.attribute(node, "transB", 0) else 1


def _bias(node: ir.Node) -> Float64 | None:
    """beta·C; [1, N] as [N], which is the same."""
    if not has_input(node, _C):
        return None
    bias = exact(node, _C)
    bias = bias.reshape(-1) if bias.ndim < 2 or bias.shape[0] == 1 else bias
    return float(graph.attribute(node, "beta", 1.0)) * bias


def _unreadable(node: ir.Node) -> Refusal | None:
    refusal = is_constant(node, _B, "weight B")
    if refusal is None and has_input(node, _C):
        refusal = is_constant(node, _C, "bias C")
    if refusal is None and len(shape_of(node, _B)) != 2:
        shape = list(shape_of(node, _B))
        return Refusal(f"the weight B of {graph.describe(node)} has shape {shape}")
    return refusal
