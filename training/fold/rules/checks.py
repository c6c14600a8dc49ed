"""The checks and readings that rules share."""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64, Line, epsilon_of, why_not_constant
from training.fold.field import Field
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


def lines_of(node: ir.Node, field: Field, axis: int, channels: int) -> Line | Refusal:
    """The line of each of `channels` along `axis`; refused where it varies along another axis."""
    others = [index for index in field.varies if index != axis]
    if others or not 0 <= axis < field.rank:
        shape = list(field.shape)
        return Refusal(
            f"the line has shape {shape} at {graph.describe(node)}, whose channels are axis {axis}"
        )
    if field.shape[axis] not in (1, channels):
        return Refusal(
            f"{graph.describe(node)} has {channels} channels where the line has {field.shape[axis]}"
        )
    both = (np.broadcast_to(a.reshape(-1), channels) for a in (field.multiplier, field.shift))
    return Line(*both)


def added_bias(multiplier: Float64 | float, bias: Float64 | None, shift: Float64) -> Float64 | None:
    """multiplier·bias + shift; None where there was no bias and none is needed."""
    if bias is not None:
        return np.asarray(multiplier * bias + shift)
    return np.asarray(shift) if shift.any() else None


def constant_operand(node: ir.Node) -> int | None:
    """The position of the one operand that is a floating-point constant; None if none or all."""
    constant = [
        position
        for position in range(len(node.inputs))
        if is_constant(node, position, "operand") is None
    ]
    return constant[0] if len(constant) == 1 else None


def broadcasts_to(array: Float64, data: ir.Value, field: Field) -> bool:
    """Whether the result of `data` and the array, which `field` is for, has the shape of `data`.

    A size of `data` that is not known might be 1, and the array's then wins.
    """
    dims = graph.shape(data)
    if dims is None or len(dims) != field.rank or array.ndim > field.rank:
        return False
    aligned = (*[1] * (field.rank - array.ndim), *array.shape)
    return all(size in (1, known) for size, known in zip(aligned, dims, strict=True))


def reduced(field: Field, value: ir.Value) -> Field | None:
    """The line at an operand that broadcasts to the result that `field` is for; None where the
    line varies along an axis that the operand has not, or that is not known to be as long."""
    dims = graph.shape(value)
    missing = field.rank - len(dims) if dims is not None else 0
    if dims is None or missing < 0 or any(size != 1 for size in field.shape[:missing]):
        return None
    kept = field.shape[missing:]
    if not all(size in (1, known) for size, known in zip(kept, dims, strict=True)):
        return None
    return Field(field.multiplier.reshape(kept), field.shift.reshape(kept))


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


def current_line(node: ir.Node) -> Line:
    """The line that a BatchNormalization is by its constants as they are now, unrounded."""
    scale, bias, mean, var = (exact(node, position) for position in range(1, 5))
    multiplier = scale / np.sqrt(var + epsilon_of(node))
    return Line(multiplier, bias - mean * multiplier)


def keep_exact(value: ir.Value, array: Float64 | None) -> None:
    """Keeps the unrounded constant beside the rounded one, for a second fold into the node."""
    if array is None:
        value.meta.pop(_EXACT, None)
    else:
        value.meta[_EXACT] = array


def is_per_column(shape: tuple[int, ...], columns: int) -> bool:
    """Whether an array of this shape, added to [N, columns], adds the same to every row."""
    return len(shape) <= 2 and shape[:-1] in ((), (1,)) and shape[-1:] in ((), (1,), (columns,))
