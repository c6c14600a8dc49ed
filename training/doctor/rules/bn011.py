"""BN011: the same layer with another ε on the other side of a conversion.

ε is 1e-5 in PyTorch and 1e-3 in Keras; a converter that forgets it rescales every channel by
√((v + ε₁)/(v + ε₂)), most where the variance is small. Threshold: 0.1 % in any channel.
A bundle is compared with the unfolded network that it keeps.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.patient import RELATIONS, Patient
from training.doctor.rule import Rule

LIMIT = 1e-3


def check(patient: Patient) -> Iterator[Finding]:
    """An error a layer."""
    for layer, epsilon in _pairs(patient):
        if layer.epsilon is None or layer.var is None or layer.epsilon == epsilon:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.sqrt((layer.var + layer.epsilon) / (layer.var + epsilon))
        change = np.nan_to_num(np.abs(ratio - 1), nan=0.0)
        channel = int(np.argmax(change))
        if change[channel] > LIMIT:
            yield Finding(
                "BN011",
                "error",
                f"{layer.name}: ε {layer.epsilon:.3g} here and {epsilon:.3g} there rescales "
                f"channel {channel} by {change[channel]:.2%}. Convert again with the ε of "
                "training.",
                layer.name,
                channel,
                float(change[channel]),
                LIMIT,
            )


def _pairs(patient: Patient) -> Iterator[tuple[Layer, float]]:
    """The layers, each with the ε that it has elsewhere."""
    recorded = {record.name: record.epsilon for record in patient.recorded}
    for layer in patient.layers:
        if layer.node is not None and layer.name in recorded:
            yield layer, recorded[layer.name]
    if patient.against is not None and patient.relation == "same":
        for layer, other in patient.pairs(patient.against):
            if other.epsilon is not None:
                yield layer, other.epsilon
    elif not recorded:
        raise NotChecked(f"{RELATIONS['same']}: --against OTHER")


RULE = Rule("BN011", "ε is the same on both sides of a conversion", check)
