"""BN034: a variance that small mini-batches under-estimate.

Neighbouring positions of a picture are alike, so m·H·W values are worth m·H·W/DEFF: the expected
variance of a mini-batch is v·(1 - DEFF/(m·H·W)), and Bessel corrects only 1/(m·H·W). From the data
DEFF/(m·H·W) = S/(m·v), S being the variance between pictures' means. Threshold: 5 % on average
over a layer's channels. Population statistics do not have this bias.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.layer import Layer
from training.doctor.observation import Seen
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LIMIT, ROWS = 0.05, 100


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    batch = patient.require_training().batch_size
    patient.require_rows(count=ROWS)
    for layer in patient.layers:
        seen = patient.frozen.layers.get(layer.name)
        if seen is None or layer.estimator == "population":
            continue
        missing = _share_between_rows(layer, seen) / batch
        if missing > LIMIT:
            yield Finding(
                "BN034",
                "warning",
                f"{layer.name}: mini-batches of {batch} under-estimate the variance by "
                f"{missing:.1%}; Bessel's correction does not fix spatial correlation. Freeze "
                "population statistics.",
                layer.name,
                measured=missing,
                threshold=LIMIT,
            )


def _share_between_rows(layer: Layer, seen: Seen) -> float:
    """S/v, on average over the live channels: 1 where a row is one value."""
    used = layer.live & (seen.var > 0)
    return float(np.mean(seen.between_rows[used] / seen.var[used])) if used.any() else 0.0


RULE = Rule("BN034", "mini-batches do not under-estimate the variance", check)
