"""BN028: statistics that moved although the layer was declared frozen.

Freezing γ and β (requires_grad=False) does not stop the running statistics: that takes eval mode
or trainable=False in Keras's sense. Needs an earlier state: `--against BEFORE --relation frozen`.
Threshold: any change of the counter, the mean or the variance.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.distance import distance
from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    for layer, before in patient.pairs(patient.require_against("frozen")):
        counted = layer.count is not None and before.count is not None
        steps = (layer.count or 0) - (before.count or 0) if counted else 0
        if layer.mean is None or layer.var is None or before.mean is None or before.var is None:
            continue
        still = np.array_equal(layer.mean, before.mean) and np.array_equal(layer.var, before.var)
        if still and not steps:
            continue
        apart = distance(layer, before.mean, before.var)
        yield Finding(
            "BN028",
            "warning",
            f"{layer.name}: declared frozen, but {steps} batches were counted and the statistics "
            f"moved ({apart.words() if apart else 'in no live channel'}). Keep the layer in eval "
            "mode while fine-tuning.",
            layer.name,
            apart.channel if apart else None,
            apart.d if apart else float(steps),
            0.0,
        )


RULE = Rule("BN028", "frozen layers stay as they were", check)
