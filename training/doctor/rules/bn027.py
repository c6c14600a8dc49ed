"""BN027: ranks of a distributed training that have different running statistics.

Without SyncBN every process tracks its own, and the checkpoint is that of rank 0: data that is
not spread evenly, or buffers that are not broadcast, leave it one-sided. Threshold over the live
channels of a layer: 0.05 σ in the mean. Needs two ranks' checkpoints: `--against RANK1 --relation
rank`.
"""

from collections.abc import Iterator

from training.doctor.distance import distance
from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LIMIT = 0.05


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    for layer, other in patient.pairs(patient.require_against("rank")):
        if other.mean is None or other.var is None:
            continue
        apart = distance(layer, other.mean, other.var)
        if apart is not None and apart.d > LIMIT:
            yield Finding(
                "BN027",
                "warning",
                f"{layer.name}: the ranks disagree ({apart.words()}); the saved model is rank 0 "
                "only. Average the statistics, or re-estimate them.",
                layer.name,
                apart.channel,
                apart.d,
                LIMIT,
            )


RULE = Rule("BN027", "ranks agree on the statistics", check)
