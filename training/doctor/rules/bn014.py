"""BN014: a channel that saturates the sigmoid or tanh behind it.

A normalized value is within two deviations for about 97 % of the inputs (one-sided), so with
|β| - 2·|γ| > 4 the activation gets more than 4 in magnitude nearly always, where a sigmoid's slope
is below 0.018. Threshold: 4, any channel.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.network import activation
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LIMIT, DEVIATIONS = 4.0, 2.0


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    patient.require_network()
    for layer in patient.layers:
        if layer.node is None or layer.bias is None:
            continue
        if activation(layer.node) not in ("Sigmoid", "Tanh"):
            continue
        least = np.abs(layer.shift) - DEVIATIONS * layer.gain
        channel = int(np.nanargmax(np.nan_to_num(least, nan=-np.inf)))
        if least[channel] > LIMIT:
            count = int((least > LIMIT).sum())
            yield Finding(
                "BN014",
                "warning",
                f"{layer.name}: {count} of {layer.channels} channels saturate the activation for "
                f"~97 % of inputs, channel {channel} most. Prune them, or train with a lower "
                "learning rate.",
                layer.name,
                channel,
                float(least[channel]),
                LIMIT,
            )


RULE = Rule("BN014", "channels do not saturate their activation", check)
