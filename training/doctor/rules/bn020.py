"""BN020: a layer that folding leaves, or that was folded where it must not be.

What `foldserve fold` cannot take in exactly stays, with its refusal: a remark. A layer folded
forward into a convolution with zero padding is wrong at the border, since the padding would have
to be the shift: an error where the folded network (`--against`) shows it. Threshold: any.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from training import graph
from training.doctor.finding import Finding
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """A remark a layer that is left; an error a layer that crossed zero padding."""
    network = patient.require_network()
    for record in network.report.layers:
        if record.refusal is not None:
            yield Finding(
                "BN020", "info", f"{record.name} is not foldable: {record.refusal}.", record.name
            )
    for layer in patient.layers:
        crossed = _crossed_padding(patient, layer)
        if crossed is not None:
            yield Finding(
                "BN020",
                "error",
                f"{layer.name} was folded forward into {graph.node_name(crossed)}: its shift "
                "cannot cross zero padding. Fold again without it.",
                layer.name,
            )


def _crossed_padding(patient: Patient, layer: Layer) -> ir.Node | None:
    """The padded convolution behind the layer whose weight the other network has changed."""
    other = patient.against
    if other is None or other.network is None or patient.network is None or layer.node is None:
        return None
    if any(theirs.name == layer.name for theirs in other.layers):
        return None
    reader = graph.sole_consumer(layer.node.outputs[0])
    if reader is None or not graph.is_op(reader, "Conv") or not _padded(reader):
        return None
    if not _shifts(layer):
        return None
    weight = graph.source(reader.inputs[1]).name if reader.inputs[1] is not None else None
    held, kept = patient.network.weight(weight), other.network.weight(weight)
    changed = held is not None and kept is not None and not np.array_equal(held, kept)
    return reader if changed else None


def _padded(node: ir.Node) -> bool:
    automatic = graph.attribute(node, "auto_pad", "NOTSET")
    return any(graph.attribute(node, "pads", ())) or str(automatic).startswith("SAME")


def _shifts(layer: Layer) -> bool:
    if layer.multiplier is None or layer.mean is None:
        return False
    return bool(np.any(layer.shift - layer.mean * layer.multiplier != 0))


RULE = Rule("BN020", "every layer folds, and exactly", check)
