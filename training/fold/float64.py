"""The oracle of the proof: an ONNX network evaluated in float64, independent of any runtime.

The network is copied with every floating-point type replaced by double, and run by ONNX's own
reference evaluator. It shares no code with the fold. Some operators are ours (`kernels`).
"""

from collections.abc import Container, Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from training.fold.kernels import KERNELS
from training.graph import Array

_NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the main graph by name, in float64 where it is a floating-point one.

    The weights go in beside the inputs: as a part of the network they would be held four times.
    """
    light = _without_initializers(model)
    _put_callees_first(light)
    evaluator = ReferenceEvaluator(to_float64(light), new_ops=list(KERNELS))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    feeds = {
        name: array.astype(np.float64) if types[name] in _NARROW else array
        for name, array in (weights | dict(inputs)).items()
    }
    values = evaluator.run(None, feeds, intermediate=True)
    assert isinstance(values, dict)  # because of `intermediate`
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _without_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    light = onnx.ModelProto(ir_version=model.ir_version, functions=model.functions)
    light.opset_import.extend(model.opset_import)
    light.graph.name = model.graph.name
    for field in ("node", "input", "output", "sparse_initializer"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    declared = {value.name for value in model.graph.input}
    light.graph.input.extend(
        onnx.ValueInfoProto(name=tensor.name)
        for tensor in model.graph.initializer
        if tensor.name not in declared
    )
    return light


def _put_callees_first(model: onnx.ModelProto) -> None:
    """Functions in the order that the evaluator needs; what calls itself comes last."""
    waiting = {(function.domain, function.name): function for function in model.functions}
    ordered = list[onnx.FunctionProto]()
    while waiting:
        ready = [key for key, function in waiting.items() if not _calls(function, waiting)]
        ordered += (waiting.pop(key) for key in ready or list(waiting))
    copies = [onnx.FunctionProto.FromString(f.SerializeToString()) for f in ordered]
    del model.functions[:]
    model.functions.extend(copies)


def _calls(function: onnx.FunctionProto, others: Container[tuple[str, str]]) -> bool:
    return any((node.domain, node.op_type) in others for node in _all_nodes(function.node))


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)


def to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which everything that was a narrower floating-point number is a double."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _widen_graph(copy.graph)
    for function in copy.functions:
        _widen_nodes(function.node)
    return copy


def _widen_graph(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for sparse in graph.sparse_initializer:
        _widen_tensor(sparse.values)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    _widen_nodes(graph.node)


def _widen_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float64))
            node.attribute.append(helper.make_attribute("value", zero))
        for attribute in node.attribute:
            _widen_attribute(node, attribute)


def _widen_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    if attribute.type == onnx.AttributeProto.TENSOR:
        _widen_tensor(attribute.t)
    elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
        _widen_tensor(attribute.sparse_tensor.values)
    elif attribute.type == onnx.AttributeProto.GRAPH:
        _widen_graph(attribute.g)
    elif attribute.type == onnx.AttributeProto.GRAPHS:
        for graph in attribute.graphs:
            _widen_graph(graph)
    elif attribute.name in _TYPE_ATTRIBUTES and attribute.i in _NARROW:
        attribute.i = TensorProto.DOUBLE
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        held = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        tensor = numpy_helper.from_array(np.asarray(held, np.float64))
        attribute.CopyFrom(helper.make_attribute("value", tensor))


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _NARROW:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
