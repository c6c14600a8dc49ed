"""Networks with operators that nobody here can evaluate: proved section by section.

A custom operator computes the same in both networks if it is given the same. So both are cut there:
what goes into such a node becomes an output to compare, and what comes out of it an input to draw.
The k-th custom node of the one network belongs to the k-th of the other: folding neither adds,
removes nor moves any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import helper

from training.shapes import without_weights

_KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
Types = Mapping[str, onnx.TypeProto]


@dataclass(frozen=True)
class Sections:
    """Both networks, cut at their custom operators, and the names of these, without repetition."""

    original: onnx.ModelProto
    folded: onnx.ModelProto
    custom: tuple[str, ...]


def cut(original: onnx.ModelProto, folded: onnx.ModelProto) -> Sections:
    """The two networks without custom operators; themselves where there are none.

    Raises ValueError where nothing tells the shape of a custom operator's output, or where the
    networks do not have the same custom operators.
    """
    ours, theirs = _custom_nodes(original), _custom_nodes(folded)
    if not ours and not theirs:
        return Sections(original, folded, ())
    nodes = [original.graph.node[index] for index in ours]
    names = [_name(node) for node in nodes]
    if names != [_name(folded.graph.node[index]) for index in theirs]:
        raise ValueError("the folded network has other custom operators than the original")
    known = _types(original, ours)
    types = [[_type_of(node, name, known) for name in node.output] for node in nodes]
    first, second = _opened(original, ours, types), _opened(folded, theirs, types)
    return Sections(first, second, tuple(dict.fromkeys(names)))


def _custom_nodes(model: onnx.ModelProto) -> list[int]:
    """The places in the main graph of nodes that are custom, or hold a custom one in a subgraph."""
    functions = {(f.domain, f.name) for f in model.functions}
    return [i for i, node in enumerate(model.graph.node) if _is_custom(node, functions)]


def _is_custom(node: onnx.NodeProto, functions: set[tuple[str, str]]) -> bool:
    if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in functions:
        return True
    return any(
        _is_custom(inner, functions)
        for attribute in node.attribute
        for graph in (attribute.g, *attribute.graphs)
        for inner in graph.node
    )


def _name(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _types(model: onnx.ModelProto, custom: Sequence[int]) -> Types:
    """The types of all values. What a custom operator gives is as the file declares it; else like
    its first input, which is right for activations and normalizations, the most frequent kind."""
    declared = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    light = without_weights(ir.from_proto(model))
    opaque = {name for index in custom for name in model.graph.node[index].output[:1]}
    for index, node in reversed(list(enumerate(light.graph.node))):
        if not node.output or node.output[0] not in opaque:
            continue
        unknown = [name for name in node.output if name and name not in declared]
        like = [helper.make_node("Identity", node.input[:1], [name]) for name in unknown]
        _replace(light.graph, index, like if node.input else [])
    try:
        inferred = onnx.shape_inference.infer_shapes(light).graph
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"the shapes between custom operators are not known: {error}") from error
    return {v.name: v.type for v in (*inferred.input, *inferred.value_info, *inferred.output)}


def _type_of(node: onnx.NodeProto, name: str, known: Types) -> onnx.TypeProto:
    found = known.get(name, onnx.TypeProto())
    if name and not (found.tensor_type.elem_type and found.tensor_type.HasField("shape")):
        raise ValueError(
            f"the custom operator {_name(node)} has an output '{name}' of unknown shape; "
            "declare it in the network's value_info"
        )
    return found


def _opened(
    model: onnx.ModelProto, custom: Sequence[int], types: Sequence[Sequence[onnx.TypeProto]]
) -> onnx.ModelProto:
    """The network with each custom node's inputs as outputs and its outputs as inputs, under names
    that tell the node's place, so that they are the same in both networks."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    graph = opened.graph
    for number, index in reversed(list(enumerate(custom))):
        node, given = graph.node[index], types[number]
        place, bridges = f"{_name(node)}#{number}", list[onnx.NodeProto]()
        for name in dict.fromkeys(filter(None, node.input)):
            shared = f"{place} input {len(bridges)}"
            bridges.append(helper.make_node("Identity", [name], [shared]))
            graph.output.append(onnx.ValueInfoProto(name=shared))
        for name, found in zip(node.output, given, strict=True):
            if name:
                shared = f"{place} output {len(bridges)}"
                graph.input.append(onnx.ValueInfoProto(name=shared, type=found))
                bridges.append(helper.make_node("Identity", [shared], [name]))
        _replace(graph, index, bridges)
    return opened


def _replace(graph: onnx.GraphProto, index: int, nodes: Sequence[onnx.NodeProto]) -> None:
    del graph.node[index]
    for offset, node in enumerate(nodes):
        graph.node.insert(index + offset, node)
