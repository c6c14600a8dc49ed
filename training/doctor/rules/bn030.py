"""BN030: the ONNX attribute `momentum` is not PyTorch's number.

It multiplies the OLD value: 0.9 in ONNX is 0.1 in PyTorch. It plays no part at inference. A remark
once for the network, so that nobody carries the number over (see BN007). Fires where the attribute
is written. Threshold: none.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """One remark for the network."""
    patient.require_network()
    nodes = [layer.node for layer in patient.layers if layer.node is not None]
    written = [node.attributes["momentum"].value for node in nodes if "momentum" in node.attributes]
    values = sorted({round(float(v), 6) for v in written if isinstance(v, int | float)})
    if values:
        shown = ", ".join(f"{value:.6g} (PyTorch {1 - value:.6g})" for value in values[:4])
        yield Finding(
            "BN030",
            "info",
            f"{len(written)} layers have the ONNX momentum {shown}: 1 - PyTorch's momentum; it is "
            "unused at inference.",
            measured=values[0],
        )


RULE = Rule("BN030", "no ONNX momentum to mistake for PyTorch's", check)
