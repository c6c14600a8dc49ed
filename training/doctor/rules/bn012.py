"""BN012: an ε that older runtimes refuse.

cuDNN's CUDNN_BN_MIN_EPSILON was 1e-5 in old releases: such a layer cannot run there unfolded.
Threshold: 1e-5, with the rounding of a float32 attribute allowed for.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LEAST = 1e-5
ROUNDING = 1e-6


def check(patient: Patient) -> Iterator[Finding]:
    """A remark a layer."""
    known = [layer for layer in patient.require_layers() if layer.epsilon is not None]
    if not known:
        raise NotChecked("ε: an ONNX file, a bundle, a run of ours or a module")
    for layer in known:
        assert layer.epsilon is not None
        if layer.epsilon < LEAST * (1 - ROUNDING):
            yield Finding(
                "BN012",
                "info",
                f"{layer.name}: ε is {layer.epsilon:.3g}; older cuDNN refuses less than 1e-5. "
                "Fold the layer, or raise ε and re-estimate.",
                layer.name,
                measured=layer.epsilon,
                threshold=LEAST,
            )


RULE = Rule("BN012", "ε is at least 1e-5", check)
