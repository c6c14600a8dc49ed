"""Conv, the line behind it or before it.

    m·(W∗x + b) + s  =  (m·W)∗x + (m·b + s)
    W∗(m·x + s) + b  =  (W·m)∗x + (b + Σ W·s)        the sum over input channels and taps

Behind: m and s belong to output channels, and axis 0 of W [M, C/group, k…] lists them for any
group, so grouped and depthwise convolutions are no special case. Padding adds zeros to x, before
W: the bias comes after it, so pads, strides and dilations do not matter.

Before: padding adds zeros that the line would have turned into s. So with padding the shift may
pass only where it reaches no output: where Σ W·s is zero over the input channels at every tap.
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

OP_TYPES = ("Conv",)
_DATA, _WEIGHT, _BIAS = 0, 1, 2


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    refusal = _unreadable(node)
    if refusal is not None:
        return refusal
    weight = exact(node, _WEIGHT)
    line = lines_of(node, field, 1, weight.shape[0])
    if isinstance(line, Refusal):
        return line
    bias = exact(node, _BIAS) if has_input(node, _BIAS) else None
    per_channel = line.multiplier.reshape(-1, *[1] * (weight.ndim - 1))
    return _edited(node, weight * per_channel, added_bias(line.multiplier, bias, line.shift))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    refusal = _unreadable(node) if position == _DATA else _not_the_data(node)
    if refusal is not None:
        return refusal
    weight, group = exact(node, _WEIGHT), int(graph.attribute(node, "group", 1))
    line = lines_of(node, field, 1, weight.shape[1] * group)
    if isinstance(line, Refusal):
        return line
    grouped = weight.reshape(group, -1, *weight.shape[1:])  # [group, M/group, C/group, k…]
    shape = (group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    # What a shifted input adds to each output channel at each tap: [M, k…].
    taps = (grouped * line.shift.reshape(shape)).sum(axis=2).reshape(-1, *weight.shape[2:])
    if taps.any() and _pads(node, weight.shape[2:]):
        return Refusal(f"{graph.describe(node)} pads with zeros, which the shift would change")
    scaled = (grouped * line.multiplier.reshape(shape)).reshape(weight.shape)
    bias = exact(node, _BIAS) if has_input(node, _BIAS) else None
    added = taps.reshape(taps.shape[0], -1).sum(axis=1)
    return _edited(node, scaled, added_bias(1.0, bias, added))


def _edited(node: ir.Node, weight: Float64, bias: Float64 | None) -> Ways:
    dtype = dtype_of(node, _WEIGHT)
    constants = {_WEIGHT: Constant(weight, dtype, axis=0)}
    if bias is not None:
        constants[_BIAS] = Constant(bias, dtype)
    return (Way((Edit(node, constants),)),)


def _unreadable(node: ir.Node) -> Refusal | None:
    refusal = is_constant(node, _WEIGHT, "weight")
    if refusal is None and has_input(node, _BIAS):
        refusal = is_constant(node, _BIAS, "bias")
    if refusal is not None:
        return refusal
    weight = shape_of(node, _WEIGHT)
    if len(weight) >= 3:
        return None
    return Refusal(
        f"the weight of {graph.describe(node)} has shape {list(weight)}; "
        "a convolution's is [M, C/group, k…]"
    )


def _not_the_data(node: ir.Node) -> Refusal:
    return Refusal(f"it is the weight of {graph.describe(node)}")


def _pads(node: ir.Node, kernel: tuple[int, ...]) -> bool:
    """Whether there may be padding. A kernel of one point needs none to keep the size."""
    automatic = graph.attribute(node, "auto_pad", "NOTSET")
    if automatic == "NOTSET":
        return bool(np.any(graph.attribute(node, "pads", (0,))))
    return automatic != "VALID" and any(size != 1 for size in kernel)
