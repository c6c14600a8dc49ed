"""A normalization's own scale and bias take in a line behind it.

    m·(scale·n(x) + bias) + s  =  (m·scale)·n(x) + (m·bias + s)

n(x) is whatever the operator computes first: batch, instance, group, layer or RMS normalization.
A BatchNormalization takes in a line before it, too, because its statistics are constants:

    a·((m·x + s) - mean) + bias  =  (a·m)·x + (bias + a·(s - mean))    a = scale/√(var + epsilon)
"""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64, Normalization, read_normalization
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit
from training.fold.rules.checks import dtype_of, exact, has_input, is_constant, lines_of
from training.fold.way import Way, Ways

OP_TYPES = (
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
)
_SCALE, _BIAS, _MEAN = 1, 2, 3


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    refusal = _unreadable(node, output)
    if refusal is not None:
        return refusal
    if node.op_type in ("LayerNormalization", "RMSNormalization"):
        return _along_last(node, field)
    scale, bias = exact(node, _SCALE), exact(node, _BIAS)
    line = lines_of(node, field, 1, scale.size)
    if isinstance(line, Refusal):
        return line
    return _edited(node, line.multiplier * scale, line.multiplier * bias + line.shift)


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if node.op_type != "BatchNormalization" or position != 0:
        return Refusal(f"{graph.describe(node)} computes its statistics from it")
    read = read_normalization(node)
    if isinstance(read, Refusal):
        return read
    line = lines_of(node, field, 1, read.channels)
    if isinstance(line, Refusal):
        return line
    scale, bias, mean, var = (exact(node, position) for position in range(1, 5))
    own = scale / np.sqrt(var + read.epsilon)
    constants = {
        _SCALE: Constant(scale * line.multiplier, dtype_of(node, _SCALE), axis=0),
        _BIAS: Constant(bias + own * (line.shift - mean), dtype_of(node, _BIAS)),
        _MEAN: Constant(np.zeros_like(mean), dtype_of(node, _MEAN)),
    }
    return (Way((Edit(node, constants),)),)


def _edited(node: ir.Node, scale: Float64, bias: Float64 | None) -> Ways:
    dtype = dtype_of(node, _SCALE)
    constants = {_SCALE: Constant(scale, dtype)}
    if bias is not None:
        constants[_BIAS] = Constant(bias, dtype)
    return (Way((Edit(node, constants),)),)


def _along_last(node: ir.Node, field: Field) -> Ways:
    """Scale and bias belong to the entries of the last axes, and broadcast to them."""
    scale = exact(node, _SCALE)
    has_bias = has_input(node, _BIAS) and node.op_type == "LayerNormalization"
    bias = exact(node, _BIAS) if has_bias else np.zeros_like(scale)
    leading = field.rank - scale.ndim
    fits = leading >= 0 and all(n == 1 for n in field.shape[:leading])
    if not fits or any(
        mine not in (1, own) for mine, own in zip(field.shape[leading:], scale.shape, strict=True)
    ):
        return Refusal(
            f"the line has shape {list(field.shape)} at {graph.describe(node)}, "
            f"whose scale has {list(scale.shape)}"
        )
    if node.op_type == "RMSNormalization" and field.has_shift:
        return Refusal(f"{graph.describe(node)} has no bias to take the shift")
    multiplier, shift = (a.reshape(field.shape[leading:]) for a in (field.multiplier, field.shift))
    needed = has_bias or field.has_shift
    return _edited(node, multiplier * scale, multiplier * bias + shift if needed else None)


def _unreadable(node: ir.Node, output: int) -> Refusal | None:
    if output != 0:
        return Refusal(f"it is a statistic that {graph.describe(node)} computes")
    if node.op_type == "BatchNormalization":
        read = read_normalization(node)
        return None if isinstance(read, Normalization) else read
    if node.op_type == "GroupNormalization" and graph.opset(node) < 21:
        return Refusal(f"{graph.describe(node)} has a scale for each group, not for each channel")
    refusal = is_constant(node, _SCALE, "scale")
    if refusal is None and has_input(node, _BIAS):
        refusal = is_constant(node, _BIAS, "bias")
    return refusal
