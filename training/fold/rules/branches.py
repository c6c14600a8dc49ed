"""Parallel linear branches of one input that meet in a sum become one convolution.

    Σ mᵢ·(Wᵢ∗x + bᵢ) + s  =  (Σ mᵢ·Eᵢ)∗x + (Σ mᵢ·bᵢ + s)

Eᵢ is Wᵢ laid into the kernel of one of them, the host, with zeros around. Tap u of branch i reads x
at o·stride + u·dilationᵢ - padᵢ, so it becomes tap t = (pad - padᵢ + u·dilationᵢ)/dilation. Zero
padding is the same zeros for all. x itself is the depthwise 1×1 kernel of ones, and average pooling
that counts its padding the depthwise kernel of 1/taps. More groups go into fewer, zeros between.
The host keeps its shape, so that the sum has no more products than the host had alone.
Source: Ding et al. 2021 (RepVGG), section 3.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training import graph
from training.fold.affine import Float64
from training.fold.refusal import Refusal
from training.fold.rules.checks import exact, has_input, is_constant

_WEIGHT, _BIAS = 1, 2


@dataclass(frozen=True)
class Axis:
    """How a kernel walks along one spatial axis."""

    taps: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def growth(self) -> int:
        """Output size minus input size, at stride 1."""
        return self.before + self.after - (self.taps - 1) * self.dilation


@dataclass(frozen=True, eq=False)
class Branch:
    """A linear branch as a convolution: weight [M, C/group, k…] and bias [M] or [1]."""

    words: str
    weight: Float64
    bias: Float64
    group: int
    axes: tuple[Axis, ...]

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1]) * self.group


def convolution(node: ir.Node) -> Branch | Refusal:
    """A Conv node, or why it is not a branch with a fixed kernel."""
    refusal = is_constant(node, _WEIGHT, "weight")
    if refusal is None and has_input(node, _BIAS):
        refusal = is_constant(node, _BIAS, "bias")
    if refusal is not None:
        return refusal
    weight, words = exact(node, _WEIGHT), graph.describe(node)
    if weight.ndim < 3:
        return Refusal(f"the weight of {words} has shape {list(weight.shape)}")
    axes = _axes(node, weight.shape[2:])
    if isinstance(axes, Refusal):
        return axes
    bias = exact(node, _BIAS) if has_input(node, _BIAS) else np.zeros(1)
    if bias.shape not in ((1,), weight.shape[:1]):
        return Refusal(f"the bias of {words} has shape {list(bias.shape)}")
    return Branch(words, weight, bias, graph.attribute(node, "group", 1), axes)


def identity(words: str, host: Branch) -> Branch:
    """The host's input, as a convolution that leaves it as it is."""
    channels, rank = host.inputs, len(host.axes)
    weight = np.ones((channels, 1, *[1] * rank))
    return Branch(words, weight, np.zeros(1), channels, (Axis(1, 1, 1, 0, 0),) * rank)


def average(node: ir.Node, host: Branch) -> Branch | Refusal:
    """An AveragePool of the host's input; at a border that it leaves out, it is no convolution."""
    kernel, words = graph.attribute(node, "kernel_shape", ()), graph.describe(node)
    axes = _axes(node, kernel)
    if isinstance(axes, Refusal):
        return axes
    padded = any(axis.before or axis.after for axis in axes)
    if padded and not graph.attribute(node, "count_include_pad", 0):
        return Refusal(f"{words} does not count its padding, so its weights change at the border")
    if graph.attribute(node, "ceil_mode", 0):
        return Refusal(f"{words} has ceil_mode=1, so its weights change at the border")
    weight = np.full((host.inputs, 1, *kernel), 1 / prod(kernel))
    return Branch(words, weight, np.zeros(1), host.inputs, axes)


def _axes(node: ir.Node, kernel: tuple[int, ...]) -> tuple[Axis, ...] | Refusal:
    count = len(kernel)
    strides = graph.attribute(node, "strides", None) or [1] * count
    dilations = graph.attribute(node, "dilations", None) or [1] * count
    pads = _pads(node, [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)], strides)
    if isinstance(pads, Refusal):
        return pads
    sides = zip(pads[:count], pads[count:], strict=True)
    walked = zip(kernel, strides, dilations, sides, strict=True)
    return tuple(Axis(k, s, d, before, after) for k, s, d, (before, after) in walked)


def _pads(node: ir.Node, reach: list[int], strides: list[int]) -> list[int] | Refusal:
    """The pads before each axis, then those after; `reach` is the last tap's distance."""
    automatic = graph.attribute(node, "auto_pad", "NOTSET")
    if automatic == "NOTSET":
        return list(graph.attribute(node, "pads", None) or [0] * (2 * len(reach)))
    if automatic == "VALID":
        return [0] * (2 * len(reach))
    if any(stride != 1 for stride in strides):
        words = f"auto_pad={automatic} with strides {list(strides)}"
        return Refusal(f"{graph.describe(node)} has {words}: its padding depends on the size")
    small, large = [n // 2 for n in reach], [n - n // 2 for n in reach]
    return small + large if automatic == "SAME_UPPER" else large + small


def does_not_fit(branch: Branch, host: Branch) -> Refusal | None:
    """Why the branch cannot be laid into the host's kernel."""
    if (branch.inputs, len(branch.weight)) != (host.inputs, len(host.weight)):
        return _differ(branch, host, "channels", lambda b: f"{b.inputs} to {len(b.weight)}")
    if len(branch.axes) != len(host.axes):
        return _differ(branch, host, "dimensions", lambda b: str(len(b.axes)))
    if branch.group % host.group:
        return _differ(branch, host, "groups", lambda b: str(b.group))
    if [axis.stride for axis in branch.axes] != [axis.stride for axis in host.axes]:
        return _differ(branch, host, "strides", lambda b: str([a.stride for a in b.axes]))
    if [axis.growth for axis in branch.axes] != [axis.growth for axis in host.axes]:
        return _differ(branch, host, "padding", _walk)
    if any(_place(*pair) is None for pair in zip(branch.axes, host.axes, strict=True)):
        return _differ(branch, host, "taps, which do not all meet", _walk)
    return None


def _differ(branch: Branch, host: Branch, what: str, words: Callable[[Branch], str]) -> Refusal:
    ours, theirs = f"{branch.words} ({words(branch)})", f"{host.words} ({words(host)})"
    return Refusal(f"{ours} and {theirs} differ in {what}")


def _walk(branch: Branch) -> str:
    kernel = "×".join(str(axis.taps) for axis in branch.axes)
    pads = [axis.before for axis in branch.axes] + [axis.after for axis in branch.axes]
    return f"{kernel}, pads {pads}, dilations {[axis.dilation for axis in branch.axes]}"


def _place(branch: Axis, host: Axis) -> slice | None:
    """The host's taps that read what the branch's taps read."""
    first, rest = divmod(host.before - branch.before, host.dilation)
    step, uneven = divmod(branch.dilation, host.dilation) if branch.taps > 1 else (1, 0)
    last = first + (branch.taps - 1) * step
    if rest or uneven or first < 0 or last >= host.taps:
        return None
    return slice(first, last + 1, step)


def embedded(branch: Branch, host: Branch) -> Float64:
    """The branch's weight in the shape of the host's; `does_not_fit` gave None for them."""
    weight = np.zeros(host.weight.shape)
    places = [_place(*pair) for pair in zip(branch.axes, host.axes, strict=True)]
    rows = np.arange(len(weight))[:, np.newaxis]
    columns = _first_input(branch, rows) - _first_input(host, rows)
    window = weight[:, :, *places]
    window[rows, columns + np.arange(branch.weight.shape[1])] = branch.weight
    return weight


def _first_input(branch: Branch, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first input channel that each output channel reads."""
    per_group = len(branch.weight) // branch.group
    first: NDArray[np.int64] = rows // per_group * branch.weight.shape[1]
    return first
