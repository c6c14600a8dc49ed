"""A network whose normalization layers can be given other statistics, one after another."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from training.errors import UnusableInput
from training.fold.affine import Float64, Normalization
from training.fold.engine import find_layers
from training.fold.inlining import inline_functions
from training.provenance import Provenance, read_provenance


@dataclass(frozen=True, eq=False)
class Layer:
    """One normalization layer: `data` and `output` are the tensors before and behind it."""

    read: Normalization
    data: str
    output: str

    @property
    def name(self) -> str:
        return self.read.name


class Network:
    """`model` is a copy with local functions inlined; `layers` are in network order.

    Raises UnusableInput where a layer normalizes by anything but constants of the main graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        working = ir.from_proto(model)
        inline_functions(working)
        self.layers = tuple(_readable(working))
        if model.functions:
            self.model = ir.to_proto(working)
        else:
            self.model = onnx.ModelProto()
            self.model.CopyFrom(model)
        if not self.layers:
            raise UnusableInput("expected a network with BatchNormalization layers, got none")
        self._nodes = {node.output[0]: node for node in self.model.graph.node if node.output}

    def node(self, layer: Layer) -> onnx.NodeProto:
        """The layer in `model`."""
        return self._nodes[layer.output]

    def set_statistics(self, layer: Layer, mean: Float64, var: Float64) -> None:
        """Writes mean and var [C], rounded once to the type of the old ones, as new constants: the
        old ones may be shared, or computed."""
        node = self.node(layer)
        for position, name, array in ((3, "mean", mean), (4, "var", var)):
            stored = f"{layer.output}.recalibrated.{name}"
            dtype = getattr(layer.read, name).dtype
            self.model.graph.initializer.append(
                numpy_helper.from_array(array.astype(dtype), stored)
            )
            node.input[position] = stored
        known = read_provenance(layer.read.metadata, layer.name)
        told = Provenance(layer.name, known.momentum, known.count, "re-calibrated")
        write_metadata(node, told)

    def remove_unused(self) -> None:
        """Takes away constants that nothing reads any more."""
        graph = self.model.graph
        read = set(names_read(graph)) | {output.name for output in graph.output}
        kept = [t for t in graph.initializer if t.name in read]
        declared = {value.name for value in graph.input}
        if len(kept) < len(graph.initializer) and not declared & (
            {t.name for t in graph.initializer} - read
        ):
            kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
            del graph.initializer[:]
            graph.initializer.extend(kept)


def write_metadata(node: onnx.NodeProto, provenance: Provenance) -> None:
    """Replaces what the node's metadata says of its layer."""
    told = provenance.to_metadata()
    known = {f"foldserve.{name}" for name in Provenance.__slots__}
    kept = [(e.key, e.value) for e in node.metadata_props if e.key not in known]
    del node.metadata_props[:]
    for key, value in (*kept, *told.items()):
        node.metadata_props.add(key=key, value=value)


def names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a node of the graph reads, those in its subgraphs included."""
    for node in graph.node:
        yield from reads(node)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, by itself or in its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        for inside in (attribute.g, *attribute.graphs):
            made = {name for each in inside.node for name in each.output}
            made |= {value.name for value in (*inside.input, *inside.initializer)}
            outside = (*names_read(inside), *(output.name for output in inside.output))
            yield from (name for name in outside if name not in made)


def _readable(working: ir.Model) -> Iterable[Layer]:
    for found in find_layers(working):
        if not isinstance(found.read, Normalization):
            raise UnusableInput(f"layer '{found.name}' cannot be re-calibrated: {found.read}")
        data, output = found.node.inputs[0], found.node.outputs[0]
        assert data is not None
        yield Layer(found.read, data.name or "", output.name or "")


def distance(old: tuple[Float64, Float64], new: tuple[Float64, Float64]) -> tuple[float, float]:
    """How far the statistics (mean, var) have moved: the rms over channels of (new - old)/√old var,
    and of ln(new var/old var); channels without a variance are left out."""
    live = (old[1] > 0) & (new[1] > 0)
    if not live.any():
        return 0.0, 0.0
    shift = (new[0] - old[0])[live] / np.sqrt(old[1][live])
    spread = np.log(new[1][live] / old[1][live])
    return float(np.sqrt(np.mean(shift**2))), float(np.sqrt(np.mean(spread**2)))
