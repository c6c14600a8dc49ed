"""The layers of an ONNX network, as they are: what folding would refuse is read all the same."""

import numpy as np
import onnx
import onnx_ir as ir

from training import graph
from training.doctor.layer import Layer
from training.doctor.momentum import Momentum
from training.doctor.network import Network
from training.doctor.patient import Patient, as_float
from training.fold import FoldReport
from training.fold.affine import PARAMETERS, Float64
from training.graph import Array
from training.provenance import Provenance, read_provenance


def from_onnx(
    model: onnx.ModelProto, name: str = "network", report: FoldReport | None = None
) -> Patient:
    """A patient that is an unfolded network; `report` is that of its fold, where it was made."""
    network = Network(model, report)
    return Patient(name, layers_of(network), network=network)


def layers_of(network: Network) -> tuple[Layer, ...]:
    """Every normalization layer in network order."""
    return tuple(_layer(network, name, node) for name, node in network.normalizations.items())


def _layer(network: Network, name: str, node: ir.Node) -> Layer:
    known = read_provenance(node.metadata_props, name)
    values = dict(zip(PARAMETERS, node.inputs[1:5], strict=False))
    arrays = {parameter: _array(value) for parameter, value in values.items()}
    size = max((array.size for array in arrays.values() if array is not None), default=0)
    fitting = {k: a if a is not None and a.size == size else None for k, a in arrays.items()}
    scale, bias, mean, var = (fitting.get(parameter) for parameter in PARAMETERS)
    return Layer(
        name,
        scale,
        bias,
        mean,
        var,
        epsilon=float(graph.attribute(node, "epsilon", 1e-5)),
        momentum=_momentum(node, known),
        count=known.count,
        estimator=known.statistics,
        moving_mean=_optional(known.moving_mean),
        moving_var=_optional(known.moving_var),
        node=node,
        place=network.place_of(node),
    )


def _array(value: ir.Value | None) -> Float64 | None:
    """A parameter [C]; one with statistics per position (spatial=0) is none of ours."""
    array = graph.constant(value)
    if array is None and value is not None:
        held = graph.source(value)  # a graph input with a default, as old files have them
        array = held.const_value.numpy() if held.const_value is not None else None
    return as_float(array) if array is not None and array.ndim == 1 else None


def _momentum(node: ir.Node, known: Provenance) -> Momentum | None:
    """As training had it where that is recorded; else the attribute, where it is written."""
    if known.momentum is not None:
        return Momentum(known.momentum, "PyTorch")
    if known.count:
        return Momentum(None, "PyTorch")  # counted, without a momentum: the cumulative average
    written = graph.attribute(node, "momentum", None)
    return None if written is None else Momentum(float(written), "ONNX")


def _optional(array: Array | None) -> Float64 | None:
    return None if array is None else np.asarray(array, np.float64)
