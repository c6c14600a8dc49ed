"""LSTM, GRU and RNN take in a line before them: on the features of every step.

    (m·x + s)·Wᵀ + Wb = x·(W·diag m)ᵀ + (Wb + W·s)

W is [directions, gates·hidden, features]; B, which may be absent, is [directions,
2·gates·hidden], the first half Wb, the second the recurrent one. Every gate adds Wb outside of what
the state goes through, also that of GRU. The features are axis 2 of X, whatever the layout.
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit
from training.fold.rules.checks import dtype_of, exact, has_input, is_constant, lines_of, shape_of
from training.fold.way import Way, Ways

OP_TYPES = ("LSTM", "GRU", "RNN")
_DATA, _WEIGHT, _BIAS = 0, 1, 3
_FEATURES = 2


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return Refusal(f"it comes from {graph.describe(node)}, behind whose state it would have to go")


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    refusal = _unreadable(node, position)
    if refusal is not None:
        return refusal
    weight, dtype = exact(node, _WEIGHT), dtype_of(node, _WEIGHT)
    line = lines_of(node, field, _FEATURES, weight.shape[_FEATURES])
    if isinstance(line, Refusal):
        return line
    constants = {_WEIGHT: Constant(weight * line.multiplier, dtype)}
    if line.shift.any():
        directions, rows = weight.shape[:2]
        given = has_input(node, _BIAS)
        bias = exact(node, _BIAS).copy() if given else np.zeros((directions, 2 * rows))
        bias[:, :rows] += weight @ line.shift
        constants[_BIAS] = Constant(bias, dtype)
    return (Way((Edit(node, constants),)),)


def _unreadable(node: ir.Node, position: int) -> Refusal | None:
    if position != _DATA:
        return Refusal(f"it is no sequence that {graph.describe(node)} reads")
    refusal = is_constant(node, _WEIGHT, "weight")
    if refusal is None and has_input(node, _BIAS):
        refusal = is_constant(node, _BIAS, "bias")
    if refusal is None and len(shape_of(node, _WEIGHT)) != _FEATURES + 1:
        return Refusal(f"the weight of {graph.describe(node)} has not 3 dimensions")
    return refusal
