"""BN001: a layer in training mode.

`training_mode=1` (opset 14 and later), or more than one output (before), makes the operator
normalize by the mean and variance of the request's own batch. ONNX Runtime runs such a network
without a warning. Source: the operator's changelog; exporters that preserve training mode.
Threshold: any.
"""

from collections.abc import Iterator

from training import graph
from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """An error for every node that says so itself."""
    patient.require_network()
    for layer in patient.layers:
        if layer.node is None:
            continue
        outputs = sum(bool(value.name) for value in layer.node.outputs)
        if graph.attribute(layer.node, "training_mode", 0):
            how = "training_mode=1"
        elif outputs > 1:
            how = f"{outputs} outputs"
        else:
            continue
        yield Finding(
            "BN001",
            "error",
            f"{layer.name} normalizes with the statistics of the request's own batch ({how}). "
            "Re-export in eval mode.",
            layer.name,
        )


RULE = Rule("BN001", "layers are in inference mode", check)
