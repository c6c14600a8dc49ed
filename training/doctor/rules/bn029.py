"""BN029: data that is far from what the layers were normalized for.

The layers' inputs on the data, with everything frozen, against the frozen statistics. The sample
is the picture, not the pixel. Significance: T, the mean over channels of squared z-scores of the
per-picture means, beyond the quantile of χ² with one degree of freedom (the channels may be that
correlated) at 1 % over all layers. And size: 0.3 σ in the mean or 0.7 in ln σ², since any large
sample is significant. Not for training data, where BN023 looks.
"""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from training.doctor.distance import departure
from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.observation import Seen
from training.doctor.patient import Patient
from training.doctor.rule import Rule

SHIFT, SPREAD, ROWS, ALPHA = 0.3, 0.7, 8, 0.01


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    if patient.require_rows(count=ROWS).kind == "training":
        raise NotChecked("data as the network will see it: without --data-is training")
    seen = patient.frozen.layers
    quantile = NormalDist().inv_cdf(1 - ALPHA / (4 * len(seen))) ** 2
    for layer in patient.layers:
        if (live := seen.get(layer.name)) is None:
            continue
        apart = departure(layer, live.mean, live.var)
        if apart is None or not apart.exceeds(SHIFT, SPREAD):
            continue
        if apart.d > SHIFT and _significance(layer, live) <= quantile:
            continue
        shifted = apart.d / SHIFT >= apart.r / SPREAD
        yield Finding(
            "BN029",
            "warning",
            f"{layer.name}: this data is far from what the layer was normalized for "
            f"({apart.words()}). Check the preprocessing; see re-calibration.",
            layer.name,
            apart.channel,
            apart.d if shifted else apart.r,
            SHIFT if shifted else SPREAD,
        )


def _significance(layer: Layer, live: Seen) -> float:
    used = layer.live & (live.between_rows > 0)
    if not used.any():
        return 0.0
    return float(np.mean(np.square(live.m)[used] / live.between_rows[used]) * live.count)


RULE = Rule("BN029", "the data is what the layers were normalized for", check)
