"""A normalization layer as the line that it is at inference.

    y = scale·(x - mean)/√(var + epsilon) + bias  =  multiplier·x + shift
    multiplier = scale/√(var + epsilon)              shift = bias - mean·multiplier

Everything is per channel; the line is computed in float64.
Source: ONNX BatchNormalization; Ioffe & Szegedy 2015, Algorithm 2, step 11.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training import graph
from training.fold.refusal import Refusal
from training.graph import Array

OPERATORS = ("BatchNormalization",)
PARAMETERS = ("scale", "bias", "mean", "var")  # inputs 1 to 4, by position
_OLDEST_OPSET = 7  # opset 6 marks inference by an attribute and broadcasts by others
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Line:
    """y = multiplier·x + shift, per channel: two float64 arrays of shape [C]."""

    multiplier: Float64
    shift: Float64

    @property
    def channels(self) -> int:
        return self.multiplier.size


@dataclass(frozen=True, eq=False)
class Normalization:
    """One normalization layer; the four parameters have shape [C] and the file's own dtype."""

    name: str
    node: str
    operator: str
    epsilon: float
    scale: Array
    bias: Array
    mean: Array
    var: Array
    metadata: dict[str, str]

    @property
    def channels(self) -> int:
        return self.scale.size

    @cached_property
    def line(self) -> Line:
        scale, bias, mean, var = (
            np.asarray(getattr(self, name), np.float64) for name in PARAMETERS
        )
        multiplier = scale / np.sqrt(var + self.epsilon)
        return Line(multiplier, bias - mean * multiplier)

    @property
    def multiplier(self) -> Float64:
        return self.line.multiplier

    @property
    def shift(self) -> Float64:
        return self.line.shift


def read_normalization(node: ir.Node, name: str | None = None) -> Normalization | Refusal:
    """The layer that `node` is, or why it is no line; `name` by default `graph.layer_name`."""
    refusal = _not_inference(node)
    if refusal is not None:
        return refusal
    parameters: dict[str, Array] = {}
    for position, parameter in enumerate(PARAMETERS, start=1):
        array = _read_parameter(node, position, parameter)
        if isinstance(array, Refusal):
            return array
        parameters[parameter] = array
    epsilon = epsilon_of(node)
    refusal = _mismatched(parameters) or _bad_variance(parameters["var"], epsilon)
    if refusal is not None:
        return refusal
    return Normalization(
        name=name or graph.layer_name(node),
        node=graph.node_name(node),
        operator=node.op_type,
        epsilon=epsilon,
        **parameters,
        metadata=dict(node.metadata_props),
    )


def epsilon_of(node: ir.Node) -> float:
    """As stored: an attribute is a float32, and so is the default."""
    return float(graph.attribute(node, "epsilon", np.float32(1e-5)))


def channels_of(node: ir.Node) -> int | None:
    """The channels of a layer that may not be readable as a whole; None where unknown."""
    for value in node.inputs[1:5]:
        array = graph.constant(value)
        if array is not None:
            return int(array.size)
    return None


def _not_inference(node: ir.Node) -> Refusal | None:
    version, outputs = graph.opset(node), [value for value in node.outputs if value.name]
    if version < _OLDEST_OPSET:
        return Refusal(f"opset {version} is older than {_OLDEST_OPSET}; convert the file first")
    if graph.attribute(node, "training_mode", 0):
        return Refusal("training_mode=1: it normalizes by the batch's own statistics")
    if len(outputs) > 1:
        return Refusal(f"{len(outputs)} outputs: it normalizes by the batch's own statistics")
    if version < 9 and graph.attribute(node, "spatial", 1) == 0:
        return Refusal("spatial=0: it has statistics per position, not per channel")
    if len(node.inputs) < 5 or node.inputs[0] is None:
        return Refusal(f"{len(node.inputs)} inputs where BatchNormalization has 5")
    return None


def _read_parameter(node: ir.Node, position: int, parameter: str) -> Array | Refusal:
    value = node.inputs[position]
    array = graph.constant(value)
    if value is None or array is None:
        return Refusal(f"{parameter} {why_not_constant(value)}")
    if array.ndim != 1:
        return Refusal(f"{parameter} has shape {list(array.shape)} where [C] is needed")
    finite = np.isfinite(array.astype(np.float64))
    if not finite.all():
        channel = int(np.argmin(finite))
        return Refusal(f"{parameter}[{channel}] is {array[channel]}")
    return array


def why_not_constant(value: ir.Value | None) -> str:
    """Words for a value that `graph.constant` gives no array for."""
    if value is None:
        return "is missing"
    origin = graph.source(value)
    if origin.is_graph_input() and origin.is_initializer():
        return f"'{origin.name}' is also a graph input, so a caller may override it"
    if origin.is_graph_input():
        return f"'{origin.name}' is a graph input, not a constant"
    node = origin.producer()
    computed = f"is computed by {graph.describe(node)}" if node is not None else "is not stored"
    return f"'{origin.name}' {computed}, not a dense constant"


def _mismatched(parameters: dict[str, Array]) -> Refusal | None:
    sizes = {name: array.size for name, array in parameters.items()}
    if len(set(sizes.values())) == 1:
        return None
    words = ", ".join(f"{name} {size}" for name, size in sizes.items())
    return Refusal(f"its parameters differ in channels: {words}")


def _bad_variance(var: Array, epsilon: float) -> Refusal | None:
    exact = var.astype(np.float64)
    bad = (exact < 0) | (exact + epsilon <= 0)
    if not bad.any():
        return None
    channel = int(np.argmax(bad))
    return Refusal(f"var[{channel}] is {exact[channel]:g} with epsilon {epsilon:g}")
