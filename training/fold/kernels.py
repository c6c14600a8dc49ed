"""Operators of the float64 evaluation that ONNX's reference evaluator has slow, or has wrong.

Conv is slow there; ConvTranspose fails with groups, BatchNormalization below opset 14 is taken for
training, and Pad cannot cut off. Tested against PyTorch in float64.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

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
        pads = _pads(given, x.shape[2:], extent, strides)
        padded = np.pad(x, ((0, 0), (0, 0), *pads))
        return (_convolve(padded, weight, bias, (strides, dilations, given.get("group") or 1)),)


def _pads(
    given: Mapping[str, Any], size: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """(before, after) for each spatial axis."""
    automatic = given.get("auto_pad") or "NOTSET"
    if automatic == "NOTSET":
        explicit = given.get("pads") or [0] * (2 * len(size))
        return list(zip(explicit[: len(size)], explicit[len(size) :], strict=True))
    if automatic == "VALID":
        return [(0, 0)] * len(size)
    total = [
        max(0, (-(-n // s) - 1) * s + e - n) for n, e, s in zip(size, extent, strides, strict=True)
    ]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    first, last = (small, large) if automatic == "SAME_UPPER" else (large, small)
    return list(zip(first, last, strict=True))


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


class BatchNormalization(OpRun):
    """For every opset; the evaluator's own takes inference below opset 14 for training."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **given: Any
    ) -> tuple[Array, ...]:
        if len(self.onnx_node.output) > 1 or given.get("training_mode"):
            raise ValueError("BatchNormalization that normalizes by its own batch")
        # spatial=0 (before opset 9) has parameters of shape [C, D1, …]
        shape = (1, *scale.shape, *[1] * (x.ndim - 1 - scale.ndim))
        scale, bias, mean, var = (array.reshape(shape) for array in (scale, bias, mean, var))
        epsilon = given.get("epsilon")
        deviation: NDArray[np.float64] = np.sqrt(var + (1e-5 if epsilon is None else epsilon))
        return ((x - mean) / deviation * scale + bias,)


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


class Pad(OpRun):
    """By NumPy; a negative padding cuts off, after what is added has been."""

    op_domain = ""

    def _run(
        self,
        data: Array,
        pads: Array | None = None,
        value: Array | None = None,
        axes: Array | None = None,
        **given: Any,
    ) -> tuple[Array]:
        # Attributes before opset 11, inputs since.
        flat = given.get("pads") if pads is None else [int(number) for number in pads]
        fill = given.get("value") if value is None else float(value)
        over = range(data.ndim) if axes is None else [int(a) % data.ndim for a in axes]
        assert flat is not None
        widths = [(0, 0)] * data.ndim
        for index, axis in enumerate(over):
            widths[axis] = (flat[index], flat[index + len(over)])
        added = [(max(before, 0), max(after, 0)) for before, after in widths]
        mode: Any = given.get("mode") or "constant"
        extra = {"constant_values": fill or 0.0} if mode == "constant" else {}
        result = np.pad(data, added, mode, **extra)
        cut = tuple(
            slice(max(-b, 0), n - max(-a, 0))
            for (b, a), n in zip(widths, result.shape, strict=True)
        )
        return (result[cut],)


KERNELS = (Conv, ConvTranspose, BatchNormalization, Pad)
