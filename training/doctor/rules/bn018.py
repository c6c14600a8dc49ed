"""BN018: weights in front of a layer that something else uses too.

Folding the layer into them changes the other use. The network itself is well, and `foldserve fold`
leaves such a layer, so on its own this is a warning for other tools (torch.fx folds a convolution
that is called twice and corrupts it). It is an error where the folded network (`--against`) has
other weights under the same name. Threshold: any second call, or second reader.
"""

from collections.abc import Iterator

import numpy as np

from training import graph
from training.doctor.finding import Finding
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.producer import producer_of
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """A warning or an error a layer."""
    patient.require_network()
    for layer in patient.layers:
        producer = producer_of(layer)
        others = None if producer is None or layer.node is None else _others(layer)
        if producer is None or not others:
            continue
        folded = _changed(patient, layer, producer.weight_name)
        node = graph.node_name(producer.node)
        yield Finding(
            "BN018",
            "error" if folded else "warning",
            f"{node} is shared with {', '.join(others[:3])}; "
            + (
                f"folding {layer.name} into it changed the other use. Fold again without it."
                if folded
                else f"folding {layer.name} would change the other use: fold with a tool that "
                "sees it."
            ),
            layer.name,
            measured=float(len(others)),
            threshold=0.0,
        )


def _others(layer: Layer) -> list[str]:
    """Who else reads the producer's output, or its weight."""
    producer = producer_of(layer)
    assert producer is not None
    assert layer.node is not None
    output, weight = producer.node.outputs[0], producer.node.inputs[1]
    reader = next((use.node for use in output.uses()), layer.node)
    found = [*graph.readers(output, reader)]
    return found + (graph.readers(weight, producer.node) if weight is not None else [])


def _changed(patient: Patient, layer: Layer, weight: str) -> bool:
    """Whether the other network has no such layer, and other numbers under the weight's name."""
    if patient.against is None or patient.against.network is None or patient.network is None:
        return False
    if any(other.name == layer.name for other in patient.against.layers):
        return False
    ours, theirs = (p.weight(weight) for p in (patient.network, patient.against.network))
    return ours is not None and theirs is not None and not np.array_equal(ours, theirs)


RULE = Rule("BN018", "weights in front of a layer are its own", check)
