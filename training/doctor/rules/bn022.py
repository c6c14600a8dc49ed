"""BN022: a network without the statistics that it was frozen with.

Exporters fold Conv→BN by default and silently, and drift can then be scored against a measured
baseline only. Fires on a network that has convolutions or products with a constant bias, as
folding leaves them, and neither a normalization layer nor a record of one. It cannot tell a
network that never had any: the message says both.
"""

from collections.abc import Iterator

from training import graph
from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """One warning for the network."""
    network = patient.require_network()
    if patient.layers or patient.recorded:
        return
    convolutions = [node for node in network.graph.graph if graph.is_op(node, "Conv")]
    biased = [
        n for n in convolutions if len(n.inputs) > 2 and graph.constant(n.inputs[2]) is not None
    ]
    if biased:
        yield Finding(
            "BN022",
            "warning",
            f"no normalization layer is in the file, and {len(biased)} of {len(convolutions)} "
            "convolutions have a bias: if the network was trained with them, the exporter folded "
            "them, and drift can only be scored against a measured baseline. Export with every "
            "layer kept (`foldserve export`, or torch.onnx.export(…, optimize=False)).",
            measured=float(len(biased)),
            threshold=0.0,
        )


RULE = Rule("BN022", "the file has its frozen statistics", check)
