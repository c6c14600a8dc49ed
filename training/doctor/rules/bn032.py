"""BN032: a hand-written layer that keeps its statistics in plain attributes.

Tensors that are neither buffers nor parameters are not in the state dict, do not move with the
module, are lost on save, and an exporter writes them as whatever they are at that moment. Found by
running a module in training mode and looking which attributes follow the batch. Threshold: any.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """An error a layer."""
    if not patient.has_modules:
        raise NotChecked("the module itself: in Python, training.doctor.modules.from_module")
    for layer in patient.layers:
        if layer.hidden:
            yield Finding(
                "BN032",
                "error",
                f"{layer.name}: statistics are plain attributes ({', '.join(layer.hidden)}): lost "
                "on save, not exported. Register them with register_buffer.",
                layer.name,
            )


RULE = Rule("BN032", "statistics are buffers", check)
