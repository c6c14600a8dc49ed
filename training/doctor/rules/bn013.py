"""BN013: channels that are switched off.

|γ| below 1/1000 of the layer's median, or, before a ReLU, β + 3·|γ| < 0: normalized values are
within three deviations, so the channel never fires. Threshold: 5 % of the channels, since a few
are found in every trained network.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.layer import DEAD_SHARE
from training.doctor.network import activation
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LIMIT, DEVIATIONS = 0.05, 3.0


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    for layer in patient.require_layers():
        if layer.scale is None or not layer.channels:
            continue
        dead = (layer.gain < DEAD_SHARE * np.median(layer.gain)) | (layer.gain == 0)
        if layer.node is not None and activation(layer.node) == "Relu":
            dead |= layer.shift + DEVIATIONS * layer.gain < 0
        share = float(dead.mean())
        if share > LIMIT:
            yield Finding(
                "BN013",
                "warning",
                f"{layer.name}: {int(dead.sum())} of {layer.channels} channels never fire; they "
                "are prunable, or the learning rate was too high.",
                layer.name,
                int(np.argmax(dead)),
                share,
                LIMIT,
            )


RULE = Rule("BN013", "channels fire", check)
