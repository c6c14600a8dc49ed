"""Conv → BatchNormalization becomes Conv.

    m·(W∗x + b) + s  =  (m·W)∗x + (m·b + s)

m and s belong to output channels, and axis 0 of W [M, C/group, k…] lists output channels for any
group, so grouped and depthwise convolutions are no special case. Padding adds zeros to x, before
W: the bias comes after it, so pads, strides and dilations do not matter.
"""

import onnx_ir as ir

from training import graph
from training.fold.refusal import Refusal
from training.fold.rules.base import Change, Constant, Edit, Match, Site, into_producer
from training.fold.rules.checks import (
    dtype_of,
    exact,
    has_channels,
    has_input,
    is_constant,
    read_alone,
    shape_of,
)

_WEIGHT, _BIAS = 1, 2


class ConvBatchNormalization:
    """Replaces ``BatchNormalization(Conv(x, W, b))`` with ``Conv(x, W', b')``."""

    name = "conv"

    def find(self, site: Site) -> Match | None:
        conv = site.data.producer()
        return Match(site, (conv,)) if conv is not None and graph.is_op(conv, "Conv") else None

    def check(self, match: Match) -> Refusal | None:
        (conv,) = match.nodes
        return (
            read_alone(match)
            or is_constant(conv, _WEIGHT, "weight")
            or (is_constant(conv, _BIAS, "bias") if has_input(conv, _BIAS) else None)
            or _fits(conv, match.site)
        )

    def rewrite(self, match: Match) -> Change:
        (conv,) = match.nodes
        line, dtype = match.site.line, dtype_of(conv, _WEIGHT)
        weight = exact(conv, _WEIGHT)
        bias = line.shift
        if has_input(conv, _BIAS):
            bias = line.multiplier * exact(conv, _BIAS) + line.shift
        per_channel = line.multiplier.reshape(-1, *[1] * (weight.ndim - 1))
        edit = Edit(
            conv,
            {
                _WEIGHT: Constant(weight * per_channel, dtype, axis=0),
                _BIAS: Constant(bias, dtype),
            },
        )
        return into_producer(match, edit)


def _fits(conv: ir.Node, site: Site) -> Refusal | None:
    weight = shape_of(conv, _WEIGHT)
    if len(weight) < 3:
        return Refusal(
            f"the weight of {graph.describe(conv)} has shape {list(weight)}; "
            "a convolution's is [M, C/group, k…]"
        )
    return has_channels(conv, site.line, weight[0])
