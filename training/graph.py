"""Reading an ONNX graph: a thin aid over onnx_ir, shared by fold, probe, doctor and recalibrate.

It answers what a value holds, who reads it and what a layer is called. It changes nothing, knows
no rule of folding, and needs no PyTorch.
"""

import ast
import re
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.traversal import RecursiveGraphIterator

from training.weight_shapes import declare_by_weights

Array = NDArray[Any]
Dims = tuple[int | str | None, ...]

# Metadata of a node: what our exporter writes, and what the PyTorch exporter writes.
LAYER = "foldserve.layer"
TORCH_SCOPES = "pkg.torch.onnx.name_scopes"
_RUNNING_MEAN = re.compile(r"(?P<layer>.+)[./](?:running_mean|moving_mean)(?::0)?")
_SHAPE, _TYPE = "foldserve.shape", "foldserve.type"
_SHAPE_KEPT = ("GroupNormalization",)  # whose shape onnx's inference does not find
_SMALL = 256  # elements: shapes, axes and scalars that shape inference reads


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

    Looks through initializers, Constant nodes in every form but sparse and string ones, and
    chains of Identity. An initializer that is also a graph input is not fixed: a caller may
    override it.
    """
    if value is None:
        return None
    value = source(value)
    node = value.producer()
    if is_op(node, "Constant") and node is not None:
        return _constant_attribute(node)
    if value.is_graph_input() or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy()


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


def infer_shapes(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Infers shapes and types that the file leaves out; what is written to a file is unchanged.

    `proto` is what `model` was read from. Where inference fails, they stay unknown.
    """
    light = without_weights(proto)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
        if declare_by_weights(light.graph, inferred):
            inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return
    found = {
        value.name: value.type.tensor_type
        for value in (*inferred.value_info, *inferred.output, *inferred.input)
    }
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        known = found.get(value.name or "")
        if known is None:
            continue
        value.meta[_TYPE] = known.elem_type
        if known.HasField("shape"):
            value.meta[_SHAPE] = tuple(map(_size, known.shape.dim))


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dimension.HasField("dim_value"):
        return dimension.dim_value
    return dimension.dim_param or None


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same network for shape inference: large constants are declared, not copied."""
    light = onnx.ModelProto(ir_version=max(proto.ir_version, 4), functions=proto.functions)
    light.opset_import.extend(proto.opset_import)
    graph, given = light.graph, proto.graph
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(given, field))
    inputs = {value.name for value in given.input}
    for tensor in given.initializer:
        if prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    _name_free_sizes(given.input, graph)
    for node in graph.node:
        if node.op_type in _SHAPE_KEPT:
            same = onnx.helper.make_node("Identity", list(node.input[:1]), list(node.output[:1]))
            node.CopyFrom(same)
    return light


def _name_free_sizes(declared: Iterable[onnx.ValueInfoProto], graph: onnx.GraphProto) -> None:
    """A nameless free size gets a name, so that it can be followed through the network."""
    names = {value.name for value in declared}
    for value in graph.input:
        tensor = value.type.tensor_type
        if value.name not in names or not tensor.HasField("shape"):
            continue
        for axis, dimension in enumerate(tensor.shape.dim):
            if not dimension.HasField("dim_value") and not dimension.dim_param:
                dimension.dim_param = f"{value.name}[{axis}]"


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
    found = _RUNNING_MEAN.fullmatch((source(mean).name or "") if mean is not None else "")
    return found["layer"] if found else None


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
