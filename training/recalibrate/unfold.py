"""A folded network with its normalization layers put back, where its bundle has no unfolded one.

The tensor y that equals a layer's output is y = multiplier·x + shift of what went into the layer.
Behind it comes the line back, x = y/multiplier - shift/multiplier, and the layer itself, by its
recorded scale, bias, mean, variance and epsilon: the same function, and everything that can be done
with an unfolded network can be done with it. A channel whose multiplier is zero is a constant: its
x is not known, and does not matter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from service.bundle import Statistics
from service.manifest import Layer
from training.errors import UnusableInput
from training.fold.affine import PARAMETERS, Normalization
from training.fold.engine import find_layers
from training.graph import Array
from training.provenance import Provenance
from training.recalibrate.network import write_metadata

_WANTED = "re-calibration needs source.onnx"


def unfold(
    folded: onnx.ModelProto,
    layers: Sequence[Layer],
    statistics: Mapping[str, Statistics],
    outputs: Mapping[str, str | None],
) -> onnx.ModelProto:
    """The network with a BatchNormalization for every layer that was folded; `outputs` are the
    tensors that equal the layers' outputs, as the fold report has them.

    Raises UnusableInput where a layer's own output is computed no longer: it went forward, or into
    one node together with another layer.
    """
    model = onnx.ModelProto()
    model.CopyFrom(folded)
    types = _types(folded)
    left = _left(folded)
    for index, layer in enumerate(layers):
        if layer.rule is None:
            _require_untouched(layer, statistics[layer.name], left.get(layer.name))
            continue
        output = outputs.get(layer.name)
        known = types.get(output or "")
        if output is None or known is None or not known.HasField("shape"):
            raise UnusableInput(
                f"layer '{layer.name}' went into '{layer.folded_into}' in a way that leaves its "
                f"own output in no tensor of the folded network; {_WANTED}"
            )
        _insert(model, layer, statistics[layer.name], (output, known, index))
    return model


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}


def _left(folded: onnx.ModelProto) -> dict[str, Normalization]:
    """The layers that are still there."""
    found = (layer.read for layer in find_layers(ir.from_proto(folded)))
    return {read.name: read for read in found if isinstance(read, Normalization)}


def _require_untouched(layer: Layer, recorded: Statistics, read: Normalization | None) -> None:
    """A layer that was left may have taken another one into its own parameters."""
    if read is None or any(
        not np.array_equal(getattr(read, name), recorded[name]) for name in PARAMETERS
    ):
        raise UnusableInput(
            f"layer '{layer.name}' has taken another one into its parameters; {_WANTED}"
        )


def _insert(
    model: onnx.ModelProto,
    layer: Layer,
    recorded: Statistics,
    place: tuple[str, onnx.TypeProto.Tensor, int],
) -> None:
    """The line back and the layer, between the tensor and all that read it."""
    output, known, index = place
    stem = f"foldserve.unfold.{index}"
    _rename_output(model.graph, output, f"{stem}.folded")
    dtype = np.dtype(ir.DataType(known.elem_type).numpy())
    shape = (1, -1, *[1] * (len(known.shape.dim) - 2))
    inverse, shift = (line.astype(dtype).reshape(shape) for line in _line_back(recorded, dtype))
    constants = {"inverse": inverse, "shift": shift} | {p: recorded[p] for p in PARAMETERS}
    model.graph.initializer.extend(
        numpy_helper.from_array(array, f"{stem}.{name}") for name, array in constants.items()
    )
    normalization = _node(
        "BatchNormalization",
        [f"{stem}.data", *(f"{stem}.{name}" for name in PARAMETERS)],
        output,
        layer.node,
        epsilon=layer.epsilon,
    )
    told = Provenance(layer.name, layer.momentum, layer.count, layer.statistics)
    write_metadata(normalization, told)
    made = [
        _node("Mul", [f"{stem}.folded", f"{stem}.inverse"], f"{stem}.scaled", f"{stem}.Mul"),
        _node("Add", [f"{stem}.scaled", f"{stem}.shift"], f"{stem}.data", f"{stem}.Add"),
        normalization,
    ]
    nodes = list(model.graph.node)
    behind = next(i for i, node in enumerate(nodes) if f"{stem}.folded" in node.output) + 1
    ordered = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    ordered[behind:behind] = made
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _line_back(recorded: Statistics, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """1/multiplier and -shift/multiplier in float64; zero where the type cannot hold them."""
    multiplier, shift = (recorded[name].astype(np.float64) for name in ("multiplier", "shift"))
    with np.errstate(all="ignore"):
        inverse, back = 1 / multiplier, -shift / multiplier
        held = np.isfinite(inverse.astype(dtype)) & np.isfinite(back.astype(dtype))
    return np.where(held, inverse, 0.0), np.where(held, back, 0.0)


def _rename_output(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for position, name in enumerate(node.output):
            if name == old:
                node.output[position] = new


def _node(
    op_type: str, inputs: Sequence[str], output: str, name: str, **attributes: Any
) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], name=name, **attributes)
