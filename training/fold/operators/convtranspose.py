"""ConvTranspose, the line behind it or before it.

    m·(W∗ᵀx + b) + s  =  (m·W)∗ᵀx + (m·b + s)
    W∗ᵀ(m·x + s) + b  =  (W·m)∗ᵀx + (b + Σ W·s)

W is [C, M/group, k…]: axis 0 lists the input channels of all groups, axis 1 the output channels of
one. Behind, every output has the bias once, also those that output_padding adds.

Before, the shift adds the same to every output only where every output sees the same taps. That is
so where the stride is 1 and the padding takes off the margin in which the kernel leaves the input;
and where kernel = stride without padding, if the taps, of which each output sees one, add the same.
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

OP_TYPES = ("ConvTranspose",)
_DATA, _WEIGHT, _BIAS = 0, 1, 2


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    refusal = _unreadable(node)
    if refusal is not None:
        return refusal
    weight, group = exact(node, _WEIGHT), int(graph.attribute(node, "group", 1))
    line = lines_of(node, field, 1, weight.shape[1] * group)
    if isinstance(line, Refusal):
        return line
    per_channel = line.multiplier.reshape(group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    scaled = (_grouped(weight, group) * per_channel).reshape(weight.shape)
    bias = exact(node, _BIAS) if has_input(node, _BIAS) else None
    return _edited(node, scaled, added_bias(line.multiplier, bias, line.shift))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != _DATA:
        return Refusal(f"it is the weight of {graph.describe(node)}")
    refusal = _unreadable(node)
    if refusal is not None:
        return refusal
    weight, group = exact(node, _WEIGHT), int(graph.attribute(node, "group", 1))
    line = lines_of(node, field, 1, weight.shape[0])
    if isinstance(line, Refusal):
        return line
    per_input = tuple(-1 if axis == 0 else 1 for axis in range(weight.ndim))
    # What a shifted input adds to each output channel at each tap: [M, k…].
    taps = _grouped(weight * line.shift.reshape(per_input), group).sum(axis=1)
    added = _uniform_sum(node, taps.reshape(-1, *weight.shape[2:]))
    if isinstance(added, Refusal):
        return added
    bias = exact(node, _BIAS) if has_input(node, _BIAS) else None
    return _edited(node, weight * line.multiplier.reshape(per_input), added_bias(1.0, bias, added))


def _grouped(weight: Float64, group: int) -> Float64:
    """[group, C/group, M/group, k…]."""
    return weight.reshape(group, -1, *weight.shape[1:])


def _edited(node: ir.Node, weight: Float64, bias: Float64 | None) -> Ways:
    dtype, group = dtype_of(node, _WEIGHT), int(graph.attribute(node, "group", 1))
    # With groups, an entry's place on axis 1 does not tell its output channel.
    constants = {_WEIGHT: Constant(weight, dtype, axis=1 if group == 1 else None)}
    if bias is not None:
        constants[_BIAS] = Constant(bias, dtype)
    return (Way((Edit(node, constants),)),)


def _unreadable(node: ir.Node) -> Refusal | None:
    refusal = is_constant(node, _WEIGHT, "weight")
    if refusal is None and has_input(node, _BIAS):
        refusal = is_constant(node, _BIAS, "bias")
    if refusal is None and len(shape_of(node, _WEIGHT)) < 3:
        return Refusal(f"the weight of {graph.describe(node)} has fewer than 3 dimensions")
    return refusal


def _uniform_sum(node: ir.Node, taps: Float64) -> Float64 | Refusal:
    """What the shift adds to every output, per channel [M]."""
    kernel = taps.shape[1:]
    if not taps.any():
        return np.zeros(taps.shape[0])
    axes = len(kernel)
    strides, dilations, margin, after, longer = (
        list(graph.attribute(node, name, default))
        for name, default in (
            ("strides", [1] * axes),
            ("dilations", [1] * axes),
            ("pads", [0] * (2 * axes)),
            ("output_shape", []),
            ("output_padding", [0] * axes),
        )
    )
    plain = graph.attribute(node, "auto_pad", "NOTSET") == "NOTSET" and not after
    if plain and not any(longer):
        needed = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        first, last = margin[:axes], margin[axes:]
        within = all(p >= n for pads in (first, last) for p, n in zip(pads, needed, strict=True))
        if strides == [1] * axes and within:
            return np.asarray(taps.reshape(taps.shape[0], -1).sum(axis=1))
        seen_once = strides == list(kernel) and dilations == [1] * axes and not any(margin)
        flat = taps.reshape(taps.shape[0], -1)
        if seen_once and (flat == flat[:, :1]).all():
            return np.asarray(flat[:, 0])
    return Refusal(
        f"the outputs of {graph.describe(node)} see different taps, "
        "so that the shift adds a different number to each"
    )
