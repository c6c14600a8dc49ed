"""A network in ONNX form: its graph read once, its fold made once, its runner opened once."""

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import onnx
import onnx_ir as ir

from training import graph
from training.doctor.runner import OnnxRunner
from training.fold import FoldReport, fold
from training.fold.engine import find_layers
from training.graph import Array


class Network:
    """`report` is that of folding the network, where that was done already."""

    def __init__(self, model: onnx.ModelProto, report: FoldReport | None = None) -> None:
        self.model = model
        self.graph = ir.from_proto(model)
        self._report = report

    @cached_property
    def normalizations(self) -> dict[str, ir.Node]:
        """Every BatchNormalization by the name that the fold report has for it."""
        layers = find_layers(self.graph)
        return {
            layer.name: layer.node
            for layer in layers
            if graph.is_op(layer.node, "BatchNormalization")
        }

    @cached_property
    def report(self) -> FoldReport:
        return self._report or fold(self.model).report

    @cached_property
    def runner(self) -> OnnxRunner:
        return OnnxRunner(self.model)

    @cached_property
    def initializers(self) -> dict[str, ir.Value]:
        return dict(self.graph.graph.initializers)

    @cached_property
    def _in_functions(self) -> set[ir.Node]:
        return {node for function in self.graph.functions.values() for node in function.all_nodes()}

    def place_of(self, node: ir.Node) -> Literal["main", "subgraph", "function"]:
        """Where a node is; what a function's inputs hold is known only where it is called."""
        if node in self._in_functions:
            return "function"
        return "main" if node.graph is self.graph.graph else "subgraph"

    def weight(self, name: str | None) -> Array | None:
        """The constant stored under a name."""
        value = self.initializers.get(name or "")
        return None if value is None else graph.constant(value)


def activation(node: ir.Node) -> str | None:
    """'Relu', 'Sigmoid' or 'Tanh' where that is all that reads the node's output."""
    output = node.outputs[0]
    if output.is_graph_output():
        return None
    kinds = {_kind(reader) for reader in _readers(output)}
    return kinds.pop() if len(kinds) == 1 else None


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    for node in value.consumers():
        if graph.is_op(node, "Identity"):
            yield from _readers(node.outputs[0])
        else:
            yield node


def _kind(node: ir.Node) -> str | None:
    if graph.is_op(node, "Relu", "Sigmoid", "Tanh"):
        return node.op_type
    if not graph.is_op(node, "Clip"):
        return None
    low = graph.attribute(node, "min", None)
    if low is None and len(node.inputs) > 1:
        low = graph.constant(node.inputs[1])
    return "Relu" if low is not None and float(low) == 0 else None


def depends_on_input(value: ir.Value) -> bool:
    """Whether what the caller sends, or chance, has a say in the value."""
    pending, seen = [value], set[ir.Value]()
    while pending:
        found = pending.pop()
        if found in seen:
            continue
        seen.add(found)
        node = found.producer()
        if node is None:
            if found.is_graph_input() and not found.is_initializer():
                return True
            continue
        if node.op_type.startswith("Random"):
            return True
        pending += [given for given in node.inputs if given is not None]
        pending += _captured(node)
    return False


def _captured(node: ir.Node) -> list[ir.Value]:
    """What the node's subgraphs read from outside."""
    captured: list[ir.Value] = []
    for attribute in node.attributes.values():
        if attribute.is_ref() or attribute.type != ir.AttributeType.GRAPH:
            continue
        inside = attribute.as_graph()
        captured += [given for n in inside.all_nodes() for given in n.inputs if given is not None]
    return captured
