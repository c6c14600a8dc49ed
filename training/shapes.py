"""Shapes and types that a file leaves out, by ONNX's own inference, which is given no weights.

It follows a shape that is computed only in part. What it misses, the list that a Concat of known
sizes makes for a Reshape, is read here, and the inference goes on from there.
"""

from collections.abc import Iterator
from math import prod

import onnx
import onnx_ir as ir

from training import graph
from training.constant_operators import EVALUATED
from training.graph import Dims
from training.sizes import reshaped
from training.weight_shapes import declare_by_weights

_SHAPE_KEPT = ("GroupNormalization",)  # whose shape onnx's inference does not find
_SMALL = 256  # elements: shapes, axes and scalars that shape inference reads
_ROUNDS = 4


def infer_shapes(model: ir.Model) -> None:
    """Infers shapes and types; what is written to a file is unchanged.

    Where inference fails, they stay unknown.
    """
    light = without_weights(model)
    for _ in range(_ROUNDS):
        try:
            light = onnx.shape_inference.infer_shapes(light, data_prop=True)
        except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
            return
        found = {
            value.name: value.type.tensor_type
            for value in (*light.graph.value_info, *light.graph.output, *light.graph.input)
        }
        for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
            known = found.get(value.name or "")
            if known is not None:
                dims = tuple(map(_size, known.shape.dim)) if known.HasField("shape") else None
                graph.infer(value, dims, known.elem_type)
        missed = {value.name: value for value in _missed(model)}
        if not declare_by_weights(light.graph, light.graph) and not missed:
            return
        told = {value.name: value for value in light.graph.value_info} | missed
        del light.graph.value_info[:]
        light.graph.value_info.extend(told.values())


def _missed(model: ir.Model) -> Iterator[onnx.ValueInfoProto]:
    """What the inference did not see of the shapes that Reshapes make."""
    for node in model.graph:
        dims = reshaped(node) if graph.is_op(node, "Reshape") else None
        if dims is None:
            continue
        output, kind = node.outputs[0], graph.dtype(node.outputs[0])
        known = graph.shape(output)
        if kind is not None and (known is None or _says_more(dims, known)):
            yield onnx.helper.make_tensor_value_info(output.name or "", kind, dims)


def _says_more(dims: Dims, known: Dims) -> bool:
    pairs = zip(dims, known, strict=False)
    return any(isinstance(ours, int) and not isinstance(size, int) for ours, size in pairs)


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dimension.HasField("dim_value"):
        return dimension.dim_value
    return dimension.dim_param or None


def without_weights(model: ir.Model) -> onnx.ModelProto:
    """The same network for shape inference: large constants are declared, not copied."""
    functions = map(ir.serde.serialize_function, model.functions.values())
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4), functions=functions)
    for domain, version in model.graph.opset_imports.items():
        light.opset_import.add(domain=domain, version=version)
    light.graph.name = "shapes"
    light.graph.input.extend(_declared(value) for value in model.graph.inputs)
    light.graph.output.extend(_declared(value) for value in model.graph.outputs)
    _name_free_sizes(light.graph)
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            _declare_constant(light.graph, name, value.const_value, value.is_graph_input())
    for node in model.graph:
        _add_node(light.graph, node)
    return light


def _add_node(light: onnx.GraphProto, node: ir.Node) -> None:
    for value in node.outputs:
        if value.name and value.type is not None and not value.is_graph_output():
            light.value_info.append(_declared(value))
    held = _small_result(node)
    if held is not None:
        light.initializer.append(ir.serde.serialize_tensor(held))
        return
    if graph.is_op(node, *_SHAPE_KEPT):
        names = [(value.name if value is not None else None) or "" for value in node.inputs[:1]]
        light.node.append(onnx.helper.make_node("Identity", names, [node.outputs[0].name or ""]))
        return
    light.node.append(ir.serde.serialize_node(node))


def _small_result(node: ir.Node) -> ir.TensorProtocol | None:
    """What a node computes of small constants alone, which the inference might not see."""
    if not graph.is_op(node, *EVALUATED) or len(node.outputs) != 1:
        return None
    inputs = [graph.constant(value) for value in node.inputs if value is not None]
    if not inputs or any(array is None or array.size > _SMALL for array in inputs):
        return None
    array = graph.constant(node.outputs[0])
    if array is None or array.size > _SMALL:
        return None
    return ir.tensor(array, name=node.outputs[0].name)


def _declare_constant(
    light: onnx.GraphProto, name: str, tensor: ir.TensorProtocol, is_input: bool
) -> None:
    if prod(tensor.shape.numpy()) <= _SMALL:
        proto = ir.serde.serialize_tensor(tensor)
        proto.name = name
        light.initializer.append(proto)
    elif not is_input:
        dims = list(tensor.shape.numpy())
        light.input.append(onnx.helper.make_tensor_value_info(name, tensor.dtype, dims))


def _declared(value: ir.Value) -> onnx.ValueInfoProto:
    proto: onnx.ValueInfoProto = ir.serde.serialize_value(value)
    return proto


def _name_free_sizes(light: onnx.GraphProto) -> None:
    """A nameless free size gets a name, so that it can be followed through the network."""
    for value in light.input:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            continue
        for axis, dimension in enumerate(tensor.shape.dim):
            if not dimension.HasField("dim_value") and not dimension.dim_param:
                dimension.dim_param = f"{value.name}[{axis}]"
