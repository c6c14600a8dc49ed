"""Removes what computes nothing, after the fold: exact no-ops, and the shape arithmetic of Flatten.

A node goes where its output is its input for every input that the network takes (a zero may change
its sign: -0 + 0 is 0). What a constant, an attribute or an inferred shape does not prove stays; so
does everything inside subgraphs and functions. Names of the network's inputs and outputs stay.
"""

from collections.abc import Callable, Iterable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from training import graph
from training.constant_operators import EVALUATED
from training.fold.apply import FOLDED, sweep
from training.fold.engine import Layer
from training.fold.flattening import ARITHMETIC, IR_FREE_INITIALIZERS, simplify_shape
from training.fold.padding import take_padding_in
from training.graph import Names

# What each adds or multiplies without effect, and whether only as the second operand.
_NEUTRAL = {"Add": (0, False), "Sub": (0, True), "Mul": (1, False), "Div": (1, True)}
_FEW_BYTES = 1 << 12
_DROPS_BY_INPUT, _DROPS_BY_ATTRIBUTE = 12, 7  # opsets: training_mode from the one, is_test before


def tidy(model: ir.Model, layers: Sequence[Layer]) -> None:
    """Removes in place whatever can be removed, in network order; each layer's output moves along.

    Linear: a node's input is final when its turn comes, so that every reader moves once.
    """
    names = Names(model)
    moved: dict[ir.Value, ir.Value] = {}
    released: list[ir.Value] = []
    for node in list(model.graph):
        if model.ir_version >= IR_FREE_INITIALIZERS and _is_stored_as_well(node):
            released += _store(node)
            continue
        padding = take_padding_in(node)
        if padding is not None:
            released += [value for value in padding.inputs if value is not None]
            model.graph.remove(padding, safe=True)
        shape = simplify_shape(node, names, model.ir_version)
        released += [shape] if shape is not None else []
        given = _passed(node)
        if given is None or not _can_replace(node, given):
            continue
        moved[node.outputs[0]] = given
        released += [value for value in node.inputs if value not in (None, given)]
        _remove(node, given)
    sweep(model.graph, dict.fromkeys(released), *ARITHMETIC)
    for layer in layers:
        if layer.output is not None:
            output = moved.get(layer.output, layer.output)
            layer.output = None if _is_gone(output) else output


def _is_stored_as_well(node: ir.Node) -> bool:
    """Whether the node computes a constant that takes no more bytes than what it is computed of,
    or few."""
    if not graph.is_op(node, *EVALUATED) or len(node.outputs) != 1 or FOLDED in node.metadata_props:
        return False
    output, held = node.outputs[0], graph.constant(node.outputs[0])
    if held is None or output.is_graph_output():
        return False
    given = (graph.constant(value) for value in node.inputs)
    return held.nbytes <= max(_FEW_BYTES, sum(a.nbytes for a in given if a is not None))


def _store(node: ir.Node) -> list[ir.Value]:
    """The readers of what the node computes read a constant of that name; what it read itself."""
    output, held, inside = node.outputs[0], graph.constant(node.outputs[0]), node.graph
    assert held is not None  # `_is_stored_as_well` comes first
    assert isinstance(inside, ir.Graph)
    stored = ir.Value(name=output.name, const_value=ir.tensor(held, name=output.name))
    stored.type = ir.TensorType(ir.DataType.from_numpy(held.dtype))
    stored.shape = ir.Shape(held.shape)
    inputs = [value for value in node.inputs if value is not None]
    output.replace_all_uses_with(stored)
    inside.remove(node, safe=True)
    inside.register_initializer(stored)
    return inputs


def _is_gone(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.graph is None


def _can_replace(node: ir.Node, given: ir.Value) -> bool:
    """Whether the input may stand for the output: not where both have a name to keep, nor where
    the report names the node because a layer went into it."""
    if FOLDED in node.metadata_props or any(_is_read(value) for value in node.outputs[1:]):
        return False
    if not node.outputs[0].is_graph_output():
        return True
    return given.producer() is not None and not given.is_graph_output()


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _remove(node: ir.Node, given: ir.Value) -> None:
    """The readers of the output read the input, which takes over the name of a graph output."""
    output, inside = node.outputs[0], node.graph
    assert inside is not None
    named = output.is_graph_output()
    output.replace_all_uses_with(given, replace_graph_outputs=True)
    inside.remove(node, safe=True)
    if named:
        given.name, given.doc_string = output.name, output.doc_string or given.doc_string
        given.type, given.shape = output.type or given.type, output.shape or given.shape
        given.metadata_props.update(output.metadata_props)


def _passed(node: ir.Node) -> ir.Value | None:
    """The input that the first output always equals; None where that is not proved."""
    if graph.is_op(node, *_NEUTRAL):
        return _beside_neutral(node)
    check = _CHECKS.get(node.op_type) if graph.is_op(node, *_CHECKS) else None
    given = node.inputs[0] if node.inputs else None
    return given if check is not None and given is not None and check(node, given) else None


def _beside_neutral(node: ir.Node) -> ir.Value | None:
    """The other operand of a constant that is neutral and does not widen it."""
    neutral, second_only = _NEUTRAL[node.op_type]
    for given, other in (node.inputs, node.inputs[::-1])[: 1 if second_only else 2]:
        array = graph.constant(other)
        if given is None or array is None or not _within(array.shape, given):
            continue
        if array.size and bool((array == neutral).all()):
            return given
    return None


def _within(shape: tuple[int, ...], value: ir.Value) -> bool:
    """Whether an array of that shape broadcasts to the value's shape, whatever the free sizes."""
    dims = () if not shape else graph.shape(value)
    if dims is None or len(shape) > len(dims):
        return False
    ends = zip(reversed(shape), reversed(dims), strict=False)
    return all(size in (1, dim) for size, dim in ends)


def _is_identity(node: ir.Node, given: ir.Value) -> bool:
    return True


def _drops_nothing(node: ir.Node, given: ir.Value) -> bool:
    opset = graph.opset(node)
    if opset < _DROPS_BY_ATTRIBUTE:
        return opset > 0 and bool(graph.attribute(node, "is_test", 0))
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if opset < _DROPS_BY_INPUT or training is None:
        return True
    mode = graph.constant(training)
    return mode is not None and not mode.any()


def _casts_to_same(node: ir.Node, given: ir.Value) -> bool:
    known = graph.dtype(given)
    return known is not None and known == graph.attribute(node, "to", None)


def _transposes_nothing(node: ir.Node, given: ir.Value) -> bool:
    order = graph.attribute(node, "perm", None)
    return order is not None and list(order) == sorted(order)


def _flattens_nothing(node: ir.Node, given: ir.Value) -> bool:
    return graph.rank(given) == 2 and graph.attribute(node, "axis", 1) in (1, -1)


def _reshapes_nothing(node: ir.Node, given: ir.Value) -> bool:
    """Sizes agree where both are known, or are copied; one may be free, for the number of entries
    tells it."""
    before, after = graph.shape(given), graph.shape(node.outputs[0])
    if before is None or after is None or len(before) != len(after):
        return False
    pairs = list(zip(before, after, _copied(node, len(after)), strict=True))
    static = [a for a, b, _ in pairs if isinstance(a, int) and isinstance(b, int)]
    if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b, _ in pairs):
        return False
    free = [copied for a, b, copied in pairs if not (isinstance(a, int) and isinstance(b, int))]
    return prod(static) > 0 and free.count(False) <= 1


def _copied(node: ir.Node, rank: int) -> Iterable[bool]:
    """For each axis, whether the Reshape says to copy the size."""
    target = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if target is None or target.size != rank or graph.attribute(node, "allowzero", 0):
        return [False] * rank
    return [bool(size == 0) for size in target]


def _has_one_input(node: ir.Node, given: ir.Value) -> bool:
    return len(node.inputs) == 1


def _pads_nothing(node: ir.Node, given: ir.Value) -> bool:
    pads = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if pads is None and len(node.inputs) < 2:
        sizes = graph.attribute(node, "pads", None)
        pads = np.array(sizes) if sizes is not None else None
    return pads is not None and not pads.any()


_CHECKS: dict[str, Callable[[ir.Node, ir.Value], bool]] = {
    "Identity": _is_identity,
    "Dropout": _drops_nothing,
    "Cast": _casts_to_same,
    "Transpose": _transposes_nothing,
    "Flatten": _flattens_nothing,
    "Reshape": _reshapes_nothing,
    "Concat": _has_one_input,
    "Sum": _has_one_input,
    "Max": _has_one_input,
    "Min": _has_one_input,
    "Mean": _has_one_input,
    "Pad": _pads_nothing,
}
