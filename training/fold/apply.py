"""The only place of the fold that changes the graph: rounds a change's constants, then does it.

Shared constants are never written to: a constant that anything else reads gets a copy. What
nothing reads any more is removed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import OPERATORS
from training.fold.refusal import Refusal
from training.fold.rules.base import Constant, Edit, Insertion, Rewrite
from training.fold.rules.checks import keep_exact
from training.graph import Array, Names

# Metadata of a node that took layers in: a JSON list of their names, in network order.
FOLDED = "foldserve.folded"
# Operators behind which another layer may be, whose line would pass them.
_PASSED = ("Add", "Concat", "Identity", "Mul", "Reshape", "Split", "Transpose")


@dataclass(frozen=True, eq=False)
class Rounded:
    """A change's constants in their target types: by the edit's place in the change and the input
    position, and by the insertion's place."""

    edits: list[dict[int, Array]]
    inserted: list[Array]


def round_constants(change: Rewrite) -> Rounded | Refusal:
    """The change's constants in their target types, or why a type cannot hold them."""
    rounded: list[dict[int, Array]] = []
    inserted: list[Array] = []
    for insertion in change.inserted:
        array = _round(insertion.shift)
        if isinstance(array, Refusal):
            return array
        inserted.append(array)
    for edit in change.edits:
        arrays: dict[int, Array] = {}
        for position, constant in edit.constants.items():
            array = _round(constant)
            if isinstance(array, Refusal):
                return array
            arrays[position] = array
        rounded.append(arrays)
    return Rounded(rounded, inserted)


def _round(constant: Constant) -> Array | Refusal:
    with np.errstate(over="ignore", under="ignore"):
        array: Array = constant.exact.astype(constant.dtype.numpy())
    finite = np.isfinite(array.astype(np.float64))
    if not finite.all():
        value = constant.exact[tuple(np.argwhere(~finite)[0])]
        return Refusal(f"a folded constant of {value:g} overflows {_words(constant.dtype)}")
    return _underflow(constant) or array


def _underflow(constant: Constant) -> Refusal | None:
    """Refuses where a whole channel of a weight falls below the type's smallest normal number.

    There its entries lose digits, then vanish. A small entry beside a normal one may: it then
    errs by less than half a unit in the last place of the largest.
    """
    exact, limits = constant.exact, ml_dtypes.finfo(constant.dtype.numpy())  # type: ignore[no-untyped-call]
    if constant.axis is None or exact.size == 0:
        return None
    others = tuple(axis for axis in range(exact.ndim) if axis != constant.axis)
    largest = np.abs(exact).max(axis=others)
    small = (largest > 0) & (largest < float(limits.smallest_normal))
    if not small.any():
        return None
    channel = int(np.argmax(small))
    return Refusal(
        f"the folded weight of channel {channel}, at most {largest[channel]:g}, "
        f"underflows {_words(constant.dtype)}"
    )


def _words(dtype: ir.DataType) -> str:
    return np.dtype(dtype.numpy()).name


def apply(change: Rewrite, rounded: Rounded, names: Names) -> None:
    """Does the change; `rounded` is what `round_constants` gave for it."""
    model_graph = change.folded_into.graph
    assert isinstance(model_graph, ir.Graph)
    kept = _folds_again(change)
    edited = (edit.node for edit in change.edits)
    nodes = (*change.removed, *(node for node, _ in change.bypassed), *edited)
    released = [value for node in nodes for value in node.inputs if value is not None]
    for edit, arrays in zip(change.edits, rounded.edits, strict=True):
        for position, array in arrays.items():
            value = _set_constant(edit, position, array, names)
            keep_exact(value, edit.constants[position].exact if kept else None)
        _set_operator(edit)
    for node, position in change.bypassed:
        _bypass(node, position, model_graph)
    _replace(change, model_graph)
    for insertion, array in zip(change.inserted, rounded.inserted, strict=True):
        _insert(insertion, array, names)
    for node in dict.fromkeys((change.folded_into, *(e.node for e in change.edits if e.constants))):
        _record(node, change.layers)
    sweep(model_graph, released)


def _folds_again(change: Rewrite) -> bool:
    """Whether another fold may follow into the same constants, which must then start from the
    unrounded ones: where layers follow one another, or are before and behind what was edited."""
    behind = [use.node for use in change.replaced.uses()]
    fed = [value.producer() for edit in change.edits for value in edit.node.inputs[:2] if value]
    near = [*behind, *fed, *(edit.node for edit in change.edits)]
    return any(graph.is_op(node, *OPERATORS, *_PASSED) for node in near)


def _set_constant(edit: Edit, position: int, array: Array, names: Names) -> ir.Value:
    """Puts the array in the input's place and returns its value: the old one where only this node
    reads it, so that names stay; else a new one."""
    node, dtype = edit.node, edit.constants[position].dtype
    old = node.inputs[position] if position < len(node.inputs) else None
    value = old if old is not None and _is_own(old) else _new_initializer(node, old, names)
    value.const_value = ir.Tensor(array, dtype, name=value.name)
    value.type, value.shape = ir.TensorType(dtype), ir.Shape(array.shape)
    if value is not old:
        assert isinstance(node.graph, ir.Graph)
        node.graph.register_initializer(value)
        if position >= len(node.inputs):
            node.resize_inputs(position + 1)
        node.replace_input_with(position, value)
    return value


def _is_own(value: ir.Value) -> bool:
    shared = value.is_graph_output() or value.is_graph_input() or len(value.uses()) != 1
    return value.is_initializer() and not shared


def _new_initializer(node: ir.Node, old: ir.Value | None, names: Names) -> ir.Value:
    stem = f"{old.name}.folded" if old is not None else f"{graph.node_name(node)}.bias"
    return ir.Value(name=names.fresh(stem))


def _set_operator(edit: Edit) -> None:
    if edit.op_type is not None:
        edit.node.op_type = edit.op_type
    for name in edit.reset:
        edit.node.attributes.pop(name, None)
    if edit.inputs is not None:
        edit.node.resize_inputs(len(edit.inputs))
        for position, value in enumerate(edit.inputs):
            edit.node.replace_input_with(position, value)


def _replace(change: Rewrite, model_graph: ir.Graph) -> None:
    """The readers of `replaced` read `by`, which takes its name and description if it changed."""
    old, new = change.replaced, change.by
    if old is not new:
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    model_graph.remove(change.removed, safe=True)
    if new not in change.altered_values:
        return
    new.name = old.name
    new.doc_string = old.doc_string or new.doc_string
    new.type = old.type or new.type
    new.shape = old.shape or new.shape
    new.metadata_props.update(old.metadata_props)


def _bypass(node: ir.Node, position: int, model_graph: ir.Graph) -> None:
    value = node.inputs[position]
    assert value is not None
    node.outputs[0].replace_all_uses_with(value)
    model_graph.remove(node, safe=True)


def _insert(insertion: Insertion, array: Array, names: Names) -> None:
    """An Add behind the value, which hands its name on to the sum."""
    value, result = insertion.value, insertion.result
    node = value.producer()
    assert node is not None
    assert isinstance(node.graph, ir.Graph)
    name = value.name or ""
    value.name = names.fresh(f"{name}.scaled")
    shift = ir.Value(name=names.fresh(f"{name}.shift"))
    shift.const_value = ir.Tensor(array, insertion.shift.dtype, name=shift.name)
    shift.type, shift.shape = ir.TensorType(insertion.shift.dtype), ir.Shape(array.shape)
    node.graph.register_initializer(shift)
    result.name, result.doc_string = name, value.doc_string
    result.type, result.shape = value.type, value.shape
    result.meta.update(value.meta)
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    add = ir.Node("", "Add", [value, shift], outputs=[result], name=names.fresh(f"{name}.add"))
    node.graph.insert_after(node, add)


def _record(node: ir.Node, layers: Iterable[str]) -> None:
    folded = [*folded_layers(node.metadata_props), *layers]
    if not folded:
        return
    node.metadata_props[FOLDED] = json.dumps(folded, ensure_ascii=False)


def folded_layers(metadata: Mapping[str, str]) -> list[str]:
    """The names of the layers that a node took in, by its metadata."""
    return [str(name) for name in json.loads(metadata.get(FOLDED, "[]"))]


def sweep(model_graph: ir.Graph, released: Iterable[ir.Value], *through: str) -> None:
    """Removes the constants that the fold left without a reader, and what only led to them:
    Identity, what computes constants of constants, and the operators `through`, of one output
    each."""
    pending, leaves = list(released), dict[ir.Value, None]()  # looked at once, however many readers
    while pending:
        value = pending.pop()
        node = value.producer()
        if node is None or graph.is_op(node, "Constant"):
            leaves[value] = None
            continue
        led = graph.is_op(node, "Identity", *through) or graph.constant(value) is not None
        inside = node.graph is model_graph and led and len(node.outputs) == 1
        if inside and not value.uses() and not value.is_graph_output():
            inputs = [given for given in node.inputs if given is not None]
            model_graph.remove(node, safe=True)
            pending += inputs
    for value in leaves:
        _remove_constant(model_graph, value)


def _remove_constant(model_graph: ir.Graph, value: ir.Value) -> None:
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    node = value.producer()
    if node is not None and node.graph is model_graph:
        model_graph.remove(node, safe=True)
    elif node is None and value.name is not None and value.name in model_graph.initializers:
        del model_graph.initializers[value.name]
