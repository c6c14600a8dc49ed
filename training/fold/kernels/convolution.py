"""Conv and ConvTranspose, one matrix product for each tap of the kernel.

The reference evaluator's Conv copies the input for all taps; its ConvTranspose fails with groups.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from training.fold.kernels.padding import pads_of
from training.graph import Array


class Conv(OpRun):
    """By one matrix product per kernel tap; the evaluator's own copies the input for all taps."""

    op_domain = ""

    def _run(
        self, x: Array, weight: Array, bias: Array | None = None, **given: Any
    ) -> tuple[Array]:
        ones = [1] * (weight.ndim - 2)
        strides, dilations = given.get("strides") or ones, given.get("dilations") or ones
        extent = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
        pads = pads_of(given, x.shape[2:], extent, strides)
        padded = np.pad(x, ((0, 0), (0, 0), *pads))
        return (_convolve(padded, weight, bias, (strides, dilations, given.get("group") or 1)),)


def _convolve(
    padded: Array,
    weight: Array,
    bias: Array | None,
    steps: tuple[Sequence[int], Sequence[int], int],
) -> Array:
    strides, dilations, group = steps
    rows, kernel = padded.shape[0], weight.shape[2:]
    out = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    taps = weight.reshape(group, weight.shape[0] // group, weight.shape[1], *kernel)
    result = np.zeros((rows, group, taps.shape[1], int(np.prod(out))), np.float64)
    for tap in product(*map(range, kernel)):
        window: tuple[Any, ...] = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilations, out, strides, strict=True)
        )
        at: tuple[Any, ...] = tap
        seen = padded[..., *window].reshape(rows, group, weight.shape[1], -1)
        factor = taps[..., *at]
        # A depthwise tap is one number per channel: multiplying is faster than 1×1 products.
        result += factor * seen if weight.shape[1] == 1 else factor @ seen
    result = result.reshape(rows, weight.shape[0], *out)
    return result if bias is None else result + bias.reshape(-1, *[1] * len(out))


class ConvTranspose(OpRun):
    """Every input adds its taps to the outputs that they reach."""

    op_domain = ""

    def _run(
        self, x: Array, weight: Array, bias: Array | None = None, **given: Any
    ) -> tuple[Array]:
        axes, group = weight.ndim - 2, given.get("group") or 1
        strides, dilations = (
            given.get("strides") or [1] * axes,
            given.get("dilations") or [1] * axes,
        )
        longer = given.get("output_padding") or [0] * axes
        extent = [
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(x.shape[2:], strides, dilations, weight.shape[2:], strict=True)
        ]
        extent = [e + more for e, more in zip(extent, longer, strict=True)]
        full = _scatter(x, weight, (strides, dilations, group), extent)
        cut = _margins(given, x.shape[2:], extent, strides)
        kept: tuple[Any, ...] = tuple(
            slice(before, n - after) for (before, after), n in zip(cut, extent, strict=True)
        )
        result = full[..., *kept]
        return (result if bias is None else result + bias.reshape(-1, *[1] * axes),)


def _margins(
    given: Mapping[str, Any], size: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """What is cut off the full result, (before, after) for each spatial axis."""
    automatic, shape = given.get("auto_pad") or "NOTSET", given.get("output_shape")
    if shape is None and automatic in ("NOTSET", "VALID"):
        explicit = given.get("pads") or [0] * (2 * len(size))
        return list(zip(explicit[: len(size)], explicit[len(size) :], strict=True))
    wanted = shape or [n * s for n, s in zip(size, strides, strict=True)]
    total = [e - w for e, w in zip(extent, wanted[-len(size) :], strict=True)]
    small = [(t // 2, t - t // 2) for t in total]
    return small if automatic == "SAME_UPPER" else [(after, before) for before, after in small]


def _scatter(
    x: Array,
    weight: Array,
    steps: tuple[Sequence[int], Sequence[int], int],
    extent: Sequence[int],
) -> Array:
    strides, dilations, group = steps
    rows, kernel = x.shape[0], weight.shape[2:]
    taps = weight.reshape(group, -1, *weight.shape[1:])
    seen = x.reshape(rows, group, taps.shape[1], -1)
    result = np.zeros((rows, group * weight.shape[1], *extent), np.float64)
    for tap in product(*map(range, kernel)):
        at: tuple[Any, ...] = tap
        given = taps[..., *at].swapaxes(1, 2) @ seen  # [rows, group, M/group, places]
        window: tuple[Any, ...] = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilations, x.shape[2:], strides, strict=True)
        )
        result[..., *window] += given.reshape(rows, -1, *x.shape[2:])
    return result
