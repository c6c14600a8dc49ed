"""Local functions become part of the graph, so that layers inside them, and beside them, can fold.

Older exports hold every module in a function of its own. A node that comes out of a function has
the call's name before its own: `stem.1/n0`. Innermost functions come first, a level at a time.
"""

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from training import graph
from training.fold.affine import OPERATORS

_CALL, _OWN = "foldserve.call", "foldserve.own"
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def inline_functions(model: ir.Model) -> None:
    """Inlines every function in place, or none: where there is no layer, or one of them cannot be
    inlined exactly, as when it is written for another opset, or calls itself."""
    levels, functions = _levels(model), list(model.functions.values())
    if not levels or not any(graph.is_op(node, *OPERATORS) for node in _nodes(model)):
        return
    if not all(_can_be_inlined(model, function) for function in functions):
        return
    for level in levels:
        _inline(model, level)
    left = {node.domain for node in model.graph.all_nodes()}
    for domain in {function.domain for function in functions} - left:
        model.graph.opset_imports.pop(domain, None)


Functions = dict[ir.OperatorIdentifier, ir.Function]


def _levels(model: ir.Model) -> list[Functions]:
    """The functions, those that call no others first; none where they call each other in a ring."""
    left, levels = dict(model.functions), list[Functions]()
    calls = {
        name: {node.op_identifier() for node in function.all_nodes()} & set(left)
        for name, function in left.items()
    }
    while left:
        level = {name: f for name, f in left.items() if not calls[name] & set(left)}
        if not level:
            return []
        levels.append(level)
        left = {name: f for name, f in left.items() if name not in level}
    return levels


def _inline(model: ir.Model, level: Functions) -> None:
    """Metadata carries the names across: the pass copies them, but makes names of its own."""
    for function in level.values():
        _separate_outputs(function)
        for node in function.all_nodes():
            node.metadata_props[_OWN] = graph.node_name(node)
    for node in _nodes(model):
        if node.op_identifier() in level:
            node.metadata_props[_CALL] = graph.node_name(node)
    InlinePass(criteria=lambda function: function.identifier() in level)(model)
    for node in _nodes(model):
        own, call = node.metadata_props.pop(_OWN, None), node.metadata_props.pop(_CALL, None)
        if call is not None:
            node.name = f"{call}/{own}"


def _can_be_inlined(model: ir.Model, function: ir.Function) -> bool:
    imports = model.graph.opset_imports
    same = all(imports.get(d, v) == v for d, v in function.opset_imports.items())
    calls = [n for n in _nodes(model) if n.op_identifier() == function.identifier()]
    plain = all(a.type not in _GRAPHS for n in calls for a in n.attributes.values())
    return same and plain and all(len(n.inputs) <= len(function.inputs) for n in calls)


def _separate_outputs(function: ir.Function) -> None:
    """An output that is also an input, or another output, gets an Identity of its own."""
    seen = set(function.inputs)
    for position, output in enumerate(function.outputs):
        if output in seen:
            node = ir.Node("", "Identity", [output], name=f"{output.name}.same")
            node.outputs[0].name = f"{output.name}.same{position}"
            function.append(node)
            function.outputs[position] = node.outputs[0]
        seen.add(output)


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()
