"""BN002: a layer whose mean or variance is computed while the network runs.

PyTorch's exporter writes a layer with track_running_stats=False as BatchNormalization *without*
training_mode whose mean and variance come from ReduceMean, so the attribute tells nothing. A
constant behind operators that depend on no input is no fault. Threshold: any.
"""

from collections.abc import Iterator

import onnx_ir as ir

from training import graph
from training.doctor.finding import Finding
from training.doctor.layer import Layer
from training.doctor.network import depends_on_input
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """An error for every layer whose statistics an input has a say in."""
    patient.require_network()
    for layer in patient.layers:
        if layer.node is None or layer.place == "function":
            continue  # a function's inputs are known only where it is called
        computed = [name for name, value in _statistics(layer) if depends_on_input(value)]
        if computed:
            yield Finding(
                "BN002",
                "error",
                f"{layer.name}: {' and '.join(computed)} are computed while the network runs "
                f"({_by(layer)}; an export with track_running_stats=False does this). Answers "
                "depend on batch mates: re-estimate the statistics and export them as constants.",
                layer.name,
            )


def _statistics(layer: Layer) -> list[tuple[str, ir.Value]]:
    assert layer.node is not None
    named = zip(("mean", "variance"), layer.node.inputs[3:5], strict=False)
    return [(name, value) for name, value in named if value is not None]


def _by(layer: Layer) -> str:
    assert layer.node is not None
    for _, value in _statistics(layer):
        node = graph.source(value).producer()
        if node is not None:
            return f"by {graph.describe(node)}"
    return "given by the caller"


RULE = Rule("BN002", "mean and variance are constants", check)
