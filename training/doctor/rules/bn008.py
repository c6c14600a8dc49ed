"""BN008: a parameter or statistic that is no number.

One NaN or infinity in γ, β, mean or variance makes the channel's every answer one. A diverged
step, or an update that mixed precision did not protect, leaves them behind. Threshold: any.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule

FIELDS = ("scale", "bias", "mean", "var")


def check(patient: Patient) -> Iterator[Finding]:
    """An error for each array of a layer, with its first such channel."""
    for layer in patient.require_layers():
        for name in FIELDS:
            array = getattr(layer, name)
            if array is None:
                continue
            bad = np.flatnonzero(~np.isfinite(array))
            if bad.size:
                more = f" ({bad.size} of {array.size} channels)" if bad.size > 1 else ""
                yield Finding(
                    "BN008",
                    "error",
                    f"{layer.name} channel {bad[0]}: {name} is {array[bad[0]]}{more}. Go back to "
                    "a checkpoint from before it, or re-estimate the statistics.",
                    layer.name,
                    int(bad[0]),
                    float(array[bad[0]]),
                )


RULE = Rule("BN008", "parameters and statistics are finite", check)
