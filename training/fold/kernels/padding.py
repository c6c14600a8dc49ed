"""Pad, and how much is padded where that is automatic. The reference evaluator's cannot cut off."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from training.graph import Array


def pads_of(
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
