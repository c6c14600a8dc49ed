"""BN004: a layer of a checkpoint that tracks no statistics.

With track_running_stats=False there is no running mean and variance: nothing to freeze, and the
layer normalizes by the batch for ever. A state dict alone shows it where one of the pair, or only
the counter, is there. A layer that is only *called* like a normalization might as well be
GroupNorm (timm keeps the name), so that is a warning. Threshold: any.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import GUESSED
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """An error for every layer that was read without its statistics."""
    if not patient.is_checkpoint and not patient.has_modules:
        raise NotChecked("a checkpoint or a module; for an ONNX file see BN002")
    for layer in patient.layers:
        if layer.untracked is None or layer.hidden:
            continue
        guessed = layer.untracked == GUESSED
        yield Finding(
            "BN004",
            "warning" if guessed else "error",
            f"{layer.name} tracks no statistics"
            + (" (if it is what it is called)" if guessed else f" ({layer.untracked})")
            + "; nothing to freeze. Re-estimate them on training data first.",
            layer.name,
        )


RULE = Rule("BN004", "every layer tracks statistics", check)
