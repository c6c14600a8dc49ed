"""BN015: a layer that multiplies a channel by a very large number.

The gain γ/√(v + ε) is what folding multiplies the weights by, and any rounding before the layer
with them. A channel of almost no variance has a gain that amplifies noise. Thresholds: 100 times
the layer's median, or 1000.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule

RELATIVE, ABSOLUTE = 100.0, 1e3


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer, with the channel of the largest gain."""
    for layer in patient.require_layers():
        if layer.multiplier is None:
            continue
        gain = np.abs(np.nan_to_num(layer.multiplier, nan=0.0))
        speaking = gain[gain > 0]
        if not speaking.size:
            continue
        limit = min(RELATIVE * float(np.median(speaking)), ABSOLUTE)
        channel = int(np.argmax(gain))
        if gain[channel] > limit:
            yield Finding(
                "BN015",
                "warning",
                f"{layer.name}: folding multiplies channel {channel} by {gain[channel]:.3g} "
                f"(median {np.median(speaking):.3g}). Look at its variance; do not fold it into "
                "weights of few bits.",
                layer.name,
                channel,
                float(gain[channel]),
                limit,
            )


RULE = Rule("BN015", "gains are of one order", check)
