"""Probes: a folded network with the statistics of its normalized activations as more outputs.

Per image and channel, the mean and the mean square over the positions: what the drift watch
compares with the frozen statistics. The network's own outputs come first and are not changed.
"""

from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from training.fold.report import FoldReport

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, eq=False)
class Probed:
    """`outputs`: for each probed layer, in network order, the names of its two outputs [N, C]:
    mean and mean square. A layer without an output in the folded network has none."""

    model: onnx.ModelProto
    outputs: dict[str, tuple[str, str]]


def add_probes(folded: onnx.ModelProto, report: FoldReport) -> Probed:
    """The same network with two more outputs for each layer whose output it still computes.

    They are float32, or float64 where the network is. Layers whose rank shape inference cannot
    tell, or whose rank is below 2, are left out.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(folded)
    types = _types(folded)
    names: dict[str, tuple[str, str]] = {}
    for index, layer in enumerate(report.layers):
        found = types.get(layer.output or "")
        if layer.output is None or found is None or not found.HasField("shape"):
            continue
        rank, channels = len(found.shape.dim), layer.channels
        if rank < 2:
            continue
        pair = (f"probe.{index}.mean", f"probe.{index}.mean_square")
        probed.graph.node.extend(_nodes(layer.output, found.elem_type, rank, pair))
        wide = TensorProto.DOUBLE if found.elem_type == TensorProto.DOUBLE else TensorProto.FLOAT
        batch = found.shape.dim[0]
        rows = batch.dim_param or (batch.dim_value if batch.HasField("dim_value") else None)
        probed.graph.output.extend(
            helper.make_tensor_value_info(name, wide, [rows, channels]) for name in pair
        )
        names[layer.name] = pair
    return Probed(probed, names)


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """The types of all values, as far as shape inference tells."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: value.type.tensor_type for value in values}


def _nodes(tensor: str, dtype: int, rank: int, pair: tuple[str, str]) -> list[onnx.NodeProto]:
    mean, square = pair
    nodes: list[onnx.NodeProto] = []
    if dtype in _HALF:
        # float16 ends at 65504: the square of 256 does not fit.
        nodes.append(_node("Cast", [tensor], f"{mean}.wide", to=TensorProto.FLOAT))
        tensor = f"{mean}.wide"
    if rank == 2:
        return [*nodes, _node("Identity", [tensor], mean), _node("Mul", [tensor, tensor], square)]
    return [
        *nodes,
        # Pooling and flattening cost ONNX Runtime a fifth to a third less than ReduceMean.
        _node("GlobalAveragePool", [tensor], f"{mean}.pooled"),
        _node("Flatten", [f"{mean}.pooled"], mean, axis=1),
        _node("Mul", [tensor, tensor], f"{square}.squared"),
        _node("GlobalAveragePool", [f"{square}.squared"], f"{square}.pooled"),
        _node("Flatten", [f"{square}.pooled"], square, axis=1),
    ]


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], name=f"{output}.{op_type}", **attributes)
