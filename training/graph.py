"""Reading an ONNX graph: a thin aid over onnx_ir, shared by fold, probe, doctor and recalibrate.

It answers what a value holds, who reads it and what a layer is called. It changes nothing, knows
no rule of folding, and needs no PyTorch.
"""

import ast
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.traversal import RecursiveGraphIterator

from training.constant_operators import EVALUATED, evaluate

Array = NDArray[Any]
Dims = tuple[int | str | None, ...]

# Metadata of a node: what our exporter writes, and what the PyTorch exporter writes.
LAYER = "foldserve.layer"
TORCH_SCOPES = "pkg.torch.onnx.name_scopes"
_RUNNING_MEAN = re.compile(r"(?P<layer>.+)[./](?:running_mean|moving_mean)(?::0)?")
_SHAPE, _TYPE = "foldserve.shape", "foldserve.type"
_HANDED_ON = ("Identity", "Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_HELD = "foldserve.held"
_FURTHEST = 64  # operators between a stored constant and what is computed of it


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether `node` is one of these operators of the ONNX standard's own domain."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def source(value: ir.Value) -> ir.Value:
    """The value behind a chain of Identity nodes; the value itself where there is none."""
    node = value.producer()
    while is_op(node, "Identity") and node is not None and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def constant(value: ir.Value | None) -> Array | None:
    """What `value` holds whenever the network runs, or None where that is not fixed.

    Looks through initializers, Constant nodes in every form but sparse and string ones, chains of
    Identity, and what operators compute of such constants. An initializer that is also a graph
    input is not fixed: a caller may override it.
    """
    return _constant(value, 0)


def _constant(value: ir.Value | None, steps: int) -> Array | None:
    if value is None:
        return None
    value = source(value)
    node = value.producer()
    if node is not None:
        if is_op(node, "Constant"):
            return _constant_attribute(node)
        return _computed(value, node, steps) if is_op(node, *EVALUATED) else None
    if value.is_graph_input() or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy()


def _computed(value: ir.Value, node: ir.Node, steps: int) -> Array | None:
    """What a node computes of constants, kept with its outputs; None if there is anything else."""
    if _HELD not in value.meta and steps < _FURTHEST:
        inputs = _fixed_inputs(node, steps + 1)
        results = evaluate(node, inputs) if inputs is not None else None
        for position, output in enumerate(node.outputs):
            output.meta[_HELD] = results[position] if results is not None else None
    kept = value.meta.get(_HELD)
    return kept if isinstance(kept, np.ndarray) else None


def _fixed_inputs(node: ir.Node, steps: int) -> list[Array | None] | None:
    """What the inputs hold, None for one left out; None altogether where one is not fixed."""
    inputs: list[Array | None] = []
    for position, given in enumerate(node.inputs):
        held = _asked(node, position) if given is not None else None
        if held is None:
            held = _constant(given, steps)
        if held is None and given is not None:
            return None
        inputs.append(held)
    return inputs


def _asked(node: ir.Node, position: int) -> Array | None:
    """A tensor of zeros where only its shape, or its type, decides what the node computes."""
    value = node.inputs[position]
    if value is None:
        return None
    if is_op(node, "Shape", "Size"):
        dims = shape(value) or (None,)
        sizes = [size for size in dims if isinstance(size, int)]
        return np.broadcast_to(np.zeros(()), sizes) if len(sizes) == len(dims) else None
    known = dtype(value) if is_op(node, "CastLike") and position == 1 else None
    return np.zeros((), known.numpy()) if known is not None else None


def _constant_attribute(node: ir.Node) -> Array | None:
    # A reference attribute (inside a function) has its value only where the function is called.
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            return attribute.as_tensor().numpy()
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, np.int64)
    return None


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads `value`, once, in its own graph; None where there is more to it.

    More is another reader, a second reading by the same node, a subgraph that captures the
    value, or the value being an output of the graph.
    """
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.graph is not value.graph:
        return None
    return uses[0].node


def readers(value: ir.Value, besides: ir.Node) -> list[str]:
    """In words, everything that reads `value` besides one reading by the node `besides`."""
    uses = list(value.uses())
    own = next((use for use in uses if use.node is besides), None)
    words = [
        describe(use.node)
        + ("" if use.node.graph is value.graph else f" in the subgraph '{_graph_name(use.node)}'")
        for use in uses
        if use is not own
    ]
    return [*words, "the network's output"] if value.is_graph_output() else words


def _graph_name(node: ir.Node) -> str:
    return (node.graph.name if node.graph is not None else None) or "?"


def describe(node: ir.Node) -> str:
    """A node in words: its operator, and its name, or its output's where it has none."""
    return f"{node.op_type} '{node_name(node)}'"


def node_name(node: ir.Node) -> str:
    """The node's name, or its first output's where it has none."""
    return node.name or (node.outputs[0].name if node.outputs else None) or ""


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The attribute's value, or `default` where the node does not set it."""
    found = node.attributes.get(name)
    return default if found is None or found.is_ref() else found.value


def opset(node: ir.Node) -> int:
    """The version of the standard operators in the node's graph or function; 0 if unknown."""
    graph = node.graph
    return 0 if graph is None else graph.opset_imports.get("", 0)


def rank(value: ir.Value) -> int | None:
    """The number of dimensions: as inferred, else as the file says, else None."""
    dims = shape(value)
    return None if dims is None else len(dims)


def shape(value: ir.Value) -> Dims | None:
    """The dimensions, as inferred, else as the file says; None where neither is known.

    A name stands for a size that the caller chooses, the same wherever the name occurs; None for
    one that is not known.
    """
    inferred = value.meta.get(_SHAPE)
    if isinstance(inferred, tuple):
        return inferred
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def dtype(value: ir.Value) -> ir.DataType | None:
    """The type of the elements: as the file says, else as inferred, else None."""
    if value.dtype is not None:
        return value.dtype
    inferred = value.meta.get(_TYPE)
    return ir.DataType(inferred) if isinstance(inferred, int) else None


def infer(value: ir.Value, dims: Dims | None, element: int) -> None:
    """Keeps what was inferred of a value beside it; what is written to a file is unchanged."""
    value.meta[_TYPE] = element
    if dims is not None:
        value.meta[_SHAPE] = dims
    if value.meta.get(_HELD, True) is None:
        del value.meta[_HELD]  # what was not known to be fixed may be by its shape


def layer_name(node: ir.Node) -> str:
    """What the network's author calls the layer that `node` is.

    The first of: our exporter's record, the module path in the PyTorch exporter's scopes, the
    stem of the running mean's name, the node's name, its output's name.
    """
    recorded = node.metadata_props.get(LAYER)
    return recorded or _scope(node) or _running_mean_stem(node) or node_name(node)


def _scope(node: ir.Node) -> str | None:
    """'stem.1' of "['', 'stem', 'stem.1', 'batch_norm']": the last entry is the operation."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(TORCH_SCOPES, ""))
        return str(scopes[-2]) or None
    except (ValueError, SyntaxError, TypeError, LookupError):
        return None  # absent, or written by something else


def _running_mean_stem(node: ir.Node) -> str | None:
    mean = node.inputs[3] if is_op(node, "BatchNormalization") and len(node.inputs) > 3 else None
    found = _RUNNING_MEAN.fullmatch((_stored(mean).name or "") if mean is not None else "")
    return found["layer"] if found else None


def _stored(value: ir.Value) -> ir.Value:
    """The value behind casts and changes of shape."""
    for _ in range(_FURTHEST):
        node = value.producer()
        given = node.inputs[0] if is_op(node, *_HANDED_ON) and node is not None else None
        if given is None:
            break
        value = given
    return value


def unique(names: Iterable[str]) -> list[str]:
    """The names, with '#2', '#3', … on those that came before: a module that is called twice."""
    names = list(names)
    taken, result = set(names), list[str]()
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        if seen[name] == 1:
            result.append(name)
            continue
        while (candidate := f"{name}#{seen[name]}") in taken:
            seen[name] += 1
        result.append(candidate)
    return result


class Names:
    """Names for new values, apart from every name in the model, subgraphs included."""

    def __init__(self, model: ir.Model) -> None:
        nodes = RecursiveGraphIterator(model.graph)
        self._taken = {value.name for node in nodes for value in node.outputs}
        for graph in model.graphs():
            self._taken.update(value.name for value in graph.inputs)
            self._taken.update(graph.initializers)

    def fresh(self, stem: str) -> str:
        """`stem`, or `stem_1`, `stem_2`, … where it is taken; taken from now on."""
        name, count = stem, 0
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name
