"""AveragePool and MaxPool, tap by tap. The reference evaluator's fail on images not square."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_max_pool import MaxPool as ReferenceMaxPool

from training.fold.kernels.padding import pads_of
from training.graph import Array


@dataclass(frozen=True)
class _Plan:
    """Where the windows are; `pads`, and what they reach `beyond` them, for each axis."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    out: Sequence[int]
    pads: list[tuple[int, int]]
    beyond: list[tuple[int, int]]

    def taps(self, padded: Array) -> Iterator[Array]:
        """What each tap of the kernel sees."""
        for tap in product(*map(range, self.kernel)):
            window: tuple[Any, ...] = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, self.dilations, self.out, self.strides, strict=True)
            )
            yield padded[..., *window]


def _plan(given: Mapping[str, Any], size: Sequence[int]) -> _Plan:
    kernel = given["kernel_shape"]
    ones = [1] * len(kernel)
    strides, dilations = given.get("strides") or ones, given.get("dilations") or ones
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = pads_of(given, size, extent, strides)
    out = _windows(given, size, extent, (pads, strides))
    beyond = [
        (0, max(0, (o - 1) * s + e - n - p - q))
        for o, s, e, n, (p, q) in zip(out, strides, extent, size, pads, strict=True)
    ]
    none = [(0, 0), (0, 0)]
    return _Plan(kernel, strides, dilations, out, [*none, *pads], [*none, *beyond])


class AveragePool(OpRun):
    """The sum over the window's taps, divided by how many there are.

    With count_include_pad=1 padding counts, as zeros; what a window has beyond it never does. With
    ceil_mode=1 a last window may reach beyond the edge, if it begins before the padding's end.
    """

    op_domain = ""

    def _run(self, x: Array, **given: Any) -> tuple[Array]:
        plan = _plan(given, x.shape[2:])
        counts = given.get("count_include_pad") or 0
        counted = np.pad(np.ones((1, 1, *x.shape[2:])), plan.pads, constant_values=counts)
        counted = np.pad(counted, plan.beyond)
        padded = np.pad(np.pad(x, plan.pads), plan.beyond)
        total, count = (reduce(np.add, plan.taps(array)) for array in (padded, counted))
        return (total / count,)


class GlobalMaxPool(OpRun):
    """The evaluator's own takes the last two axes, whatever the rank."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class MaxPool(ReferenceMaxPool):
    """Padding is -∞. Where the places of the maxima are wanted too, it is the evaluator's own."""

    op_domain = ""

    def _run(self, x: Array, **given: Any) -> tuple[Array, ...]:  # type: ignore[override]
        if len(self.onnx_node.output) > 1:
            return tuple(super()._run(x, **given))  # type: ignore[no-untyped-call]
        plan = _plan(given, x.shape[2:])
        lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
        for widths in (plan.pads, plan.beyond):
            x = np.pad(x, widths, constant_values=lowest)
        return (reduce(np.maximum, plan.taps(x)),)


def _windows(
    given: Mapping[str, Any],
    size: Sequence[int],
    extent: Sequence[int],
    steps: tuple[Sequence[tuple[int, int]], Sequence[int]],
) -> list[int]:
    """How many windows there are along each axis."""
    counts: list[int] = []
    for n, e, (before, after), s in zip(size, extent, *steps, strict=True):
        room = n + before + after - e
        count = (-(-room // s) if given.get("ceil_mode") else room // s) + 1
        counts.append(count - 1 if (count - 1) * s >= n + before else count)
    return counts
