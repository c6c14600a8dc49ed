"""Shape arithmetic that keeps the batch: Shape → … → Concat([N, k]) → Reshape becomes Flatten(1).

    Reshape(x, [N, k, …]) = Reshape(x, [0, k, …])        where N is the size of x along axis 0

N is that size if it is read from x itself; or, read from any tensor, if the constants k hold as
many entries as x has behind axis 0: then no other first size is possible. Anything else stays.
"""

from math import prod

import numpy as np
import onnx_ir as ir

from training import graph
from training.graph import Dims, Names

# What such arithmetic consists of: nothing reads it once the Reshape does not.
ARITHMETIC = ("Shape", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Concat")
_ONE_STAYS = ("Squeeze", "Unsqueeze", "Reshape")
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)
_STEPS = 12  # nodes between a Shape and its Concat; exporters have up to six
_FLATTEN_ANY_TYPE = 9  # the opset from which Flatten takes more than floating-point numbers
IR_FREE_INITIALIZERS = 4  # the format from which an initializer need not be an input


def simplify_shape(node: ir.Node, names: Names, ir_version: int) -> ir.Value | None:
    """Gives a Reshape that keeps the batch a constant shape, or makes it a Flatten.

    Returns the shape that it no longer reads; None where it stays as it is.
    """
    sizes = _kept_batch(node)
    if sizes is None or not isinstance(node.graph, ir.Graph):
        return None
    given = node.inputs[1]
    if _is_flatten(node, sizes):
        node.op_type = "Flatten"
        node.attributes.clear()
        node.attributes["axis"] = ir.AttrInt64("axis", 1)
        node.resize_inputs(1)
        return given
    if ir_version < IR_FREE_INITIALIZERS:
        return None
    name = names.fresh(f"{node.outputs[0].name}.shape")
    value = ir.Value(name=name, const_value=ir.tensor(np.array([0, *sizes], np.int64), name=name))
    value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([1 + len(sizes)])
    node.graph.register_initializer(value)
    node.attributes.pop("allowzero", None)
    node.replace_input_with(1, value)
    return given


def _kept_batch(node: ir.Node) -> tuple[int, ...] | None:
    """The sizes behind the first, where the Reshape's shape is [N, constants]."""
    if not graph.is_op(node, "Reshape") or len(node.inputs) < 2:
        return None
    data, parts = node.inputs[0], _parts(node.inputs[1])
    origin = _origin(parts[0]) if len(parts) > 1 else None
    if data is None or origin is None:
        return None
    sizes = _constants(parts[1:])
    if sizes is None or (0 in sizes and graph.attribute(node, "allowzero", 0)):
        return None
    return sizes if origin is data or _fills(sizes, graph.shape(data)) else None


def _parts(value: ir.Value | None) -> tuple[ir.Value | None, ...]:
    node = _behind_casts(value)
    if not graph.is_op(node, "Concat") or node is None:
        return ()
    return tuple(node.inputs) if graph.attribute(node, "axis", 0) in (0, -1) else ()


def _constants(parts: tuple[ir.Value | None, ...]) -> tuple[int, ...] | None:
    """All entries of the parts, which must be constants of one dimension."""
    arrays = [graph.constant(part) for part in parts]
    if any(array is None or array.ndim != 1 for array in arrays):
        return None
    return tuple(int(size) for array in arrays if array is not None for size in array)


def _origin(value: ir.Value | None) -> ir.Value | None:
    """The tensor whose first size is the one entry of `value`; None where that is not certain."""
    picked = False  # whether the first entry of a whole shape is taken on the way
    for _ in range(_STEPS):
        node = value.producer() if value is not None else None
        if node is None:
            return None
        if graph.is_op(node, "Shape"):
            return _first_of(node, picked)
        if not _is_cast(node):
            if picked or not (_picks_first(node) or graph.is_op(node, *_ONE_STAYS)):
                return None
            picked = _picks_first(node)
        value = node.inputs[0]
    return None


def _first_of(node: ir.Node, picked: bool) -> ir.Value | None:
    data, end = node.inputs[0], graph.attribute(node, "end", None)
    starts = graph.attribute(node, "start", 0) == 0
    one = end == 1 or (picked and (end is None or end > 1))
    # A scalar has no first size.
    return data if starts and one and data is not None and graph.rank(data) else None


def _behind_casts(value: ir.Value | None) -> ir.Node | None:
    for _ in range(_STEPS):
        node = value.producer() if value is not None else None
        if node is None or not _is_cast(node):
            return node
        value = node.inputs[0]
    return None


def _is_cast(node: ir.Node) -> bool:
    """Whether the node hands an integer on as it is."""
    if graph.is_op(node, "Identity"):
        return True
    return graph.is_op(node, "Cast") and graph.attribute(node, "to", 0) in _INTEGERS


def _picks_first(node: ir.Node) -> bool:
    """Whether the node takes the first entry of a list: Gather(0), or Slice(0, 1)."""
    if graph.is_op(node, "Gather"):
        return _holds(graph.constant(node.inputs[1]), 0)
    if not graph.is_op(node, "Slice"):
        return False
    if len(node.inputs) < 3:
        starts, ends = (graph.attribute(node, name, None) for name in ("starts", "ends"))
        return tuple(starts or ()) == (0,) and tuple(ends or ()) == (1,)
    step = node.inputs[4] if len(node.inputs) > 4 else None
    start, end = (graph.constant(value) for value in node.inputs[1:3])
    return _holds(start, 0) and _holds(end, 1) and (step is None or _holds(graph.constant(step), 1))


def _holds(array: graph.Array | None, number: int) -> bool:
    return array is not None and array.size == 1 and array.item() == number


def _fills(sizes: tuple[int, ...], dims: Dims | None) -> bool:
    """Whether the sizes hold exactly what a tensor of these dimensions has behind axis 0."""
    entries = _entries(dims)
    return entries is not None and min(sizes) > 0 and prod(sizes) == entries


def _entries(dims: Dims | None) -> int | None:
    """How many entries there are behind axis 0, where that is known and not zero."""
    known = [size for size in dims[1:] if isinstance(size, int)] if dims else []
    return prod(known) or None if dims and len(known) == len(dims) - 1 else None


def _is_flatten(node: ir.Node, sizes: tuple[int, ...]) -> bool:
    data = node.inputs[0]
    if len(sizes) != 1 or data is None or graph.opset(node) < _FLATTEN_ANY_TYPE:
        return False
    return sizes[0] == -1 or sizes[0] == _entries(graph.shape(data))
