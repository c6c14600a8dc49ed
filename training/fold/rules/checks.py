"""The checks and readings that rules share."""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64, Line, why_not_constant
from training.fold.refusal import Refusal
from training.fold.rules.base import Match

FLOATING = (
    ir.DataType.FLOAT16,
    ir.DataType.BFLOAT16,
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
)
_EXACT = "foldserve.exact"


def read_alone(match: Match) -> Refusal | None:
    """Refuses where anything but the pattern itself reads a value inside it.

    `match.nodes` lead, each through its first output, to the site.
    """
    for node, reader in zip(match.nodes, (*match.nodes[1:], match.site.node), strict=True):
        others = graph.readers(node.outputs[0], besides=reader)
        if others:
            return Refusal(f"{graph.describe(node)} also feeds {', '.join(others)}")
    return None


def is_constant(node: ir.Node, position: int, what: str) -> Refusal | None:
    """Refuses where an input is no constant of a floating-point type."""
    value = node.inputs[position] if position < len(node.inputs) else None
    if graph.constant(value) is None:
        return Refusal(f"the {what} of {graph.describe(node)} {why_not_constant(value)}")
    dtype = dtype_of(node, position)
    if dtype not in FLOATING:
        return Refusal(f"the {what} of {graph.describe(node)} is of type {dtype.name}")
    return None


def has_channels(node: ir.Node, line: Line, channels: int) -> Refusal | None:
    """Refuses where the weight has other output channels than the line."""
    if channels == line.channels:
        return None
    return Refusal(
        f"{graph.describe(node)} has {channels} output channels where the layer has {line.channels}"
    )


def has_input(node: ir.Node, position: int) -> bool:
    """Whether an optional input is given; a missing one may be absent or an empty string."""
    return position < len(node.inputs) and node.inputs[position] is not None


def dtype_of(node: ir.Node, position: int) -> ir.DataType:
    """The type of a constant input."""
    array = graph.constant(node.inputs[position])
    assert array is not None  # `is_constant` comes first
    return ir.DataType.from_numpy(array.dtype)


def shape_of(node: ir.Node, position: int) -> tuple[int, ...]:
    """The shape of a constant input."""
    array = graph.constant(node.inputs[position])
    assert array is not None  # `is_constant` comes first
    return array.shape


def exact(node: ir.Node, position: int) -> Float64:
    """A constant input in float64: before its rounding, where an earlier fold made it."""
    value = node.inputs[position]
    array = graph.constant(value)
    assert value is not None  # `is_constant` comes first
    assert array is not None
    kept = value.meta.get(_EXACT)
    return kept if isinstance(kept, np.ndarray) else array.astype(np.float64)


def keep_exact(value: ir.Value, array: Float64 | None) -> None:
    """Keeps the unrounded constant beside the rounded one, for a second fold into the node."""
    if array is None:
        value.meta.pop(_EXACT, None)
    else:
        value.meta[_EXACT] = array


def is_per_column(shape: tuple[int, ...], columns: int) -> bool:
    """Whether an array of this shape, added to [N, columns], adds the same to every row."""
    return len(shape) <= 2 and shape[:-1] in ((), (1,)) and shape[-1:] in ((), (1,), (columns,))
