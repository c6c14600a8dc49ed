"""BN009: a variance below zero.

E[x²] - E[x]² cancels in float32 where the mean is large, and averaging weights (SWA, EMA) without
clipping can give it too. √(var + ε) is then too small or NaN. Threshold: any.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """An error a layer, with the most negative channel."""
    for layer in patient.require_layers():
        if layer.var is None or not np.any(layer.var < 0):
            continue
        channel = int(np.nanargmin(layer.var))
        yield Finding(
            "BN009",
            "error",
            f"{layer.name} channel {channel}: negative variance {layer.var[channel]:.3g}: "
            "cancellation, or averaging without clipping. Re-estimate the statistics.",
            layer.name,
            channel,
            float(layer.var[channel]),
            0.0,
        )


RULE = Rule("BN009", "variances are not negative", check)
