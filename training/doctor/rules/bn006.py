"""BN006: a moving average that has not forgotten its initial value.

After t batches the initial value still weighs k^t, k being the weight kept on the old value: with
PyTorch's default (k = 0.9) it is below 1 % after 44 batches, with 0.999 after 4,603. PyTorch,
Keras and Flax do not correct for it. Threshold: 1 %. Population statistics and cumulative averages
have no initial value.
"""

import math
from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LIMIT = 0.01


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer, with the number of batches that it takes."""
    known = [(layer, kept) for layer in patient.require_layers() if (kept := _kept(layer))]
    if not known:
        raise NotChecked("moving averages with their momentum and count: a run of ours, a module")
    for layer, kept in known:
        assert layer.count is not None
        left = kept**layer.count
        if left > LIMIT:
            needed = "ever more" if kept >= 1 else math.ceil(math.log(LIMIT) / math.log(kept))
            yield Finding(
                "BN006",
                "warning",
                f"{layer.name}: the moving average has seen {layer.count} batches; {left:.1%} is "
                f"still the initial value; it needs {needed}. Use population statistics.",
                layer.name,
                measured=left,
                threshold=LIMIT,
            )


def _kept(layer: Layer) -> float | None:
    if layer.estimator == "population" or not layer.count or layer.momentum is None:
        return None
    return layer.momentum.kept


RULE = Rule("BN006", "moving averages have forgotten their initial value", check)
