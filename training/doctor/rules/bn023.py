"""BN023: running statistics that belong to other weights.

Averaged weights (EMA, SWA, schedule-free) are served with the statistics of the weights that they
were averaged from; accuracy falls to chance. The statistics are estimated anew, from training data
in batch mode or from `--against OTHER --relation precise`. Thresholds over the live channels of a
layer: 0.1 σ in the mean, 0.2 in ln σ²; at least 1,000 rows, whose own noise is 0.03. An error where
the data is said to be training data; else a warning, since other data could be the reason.
"""

from collections.abc import Iterator

from training.doctor.distance import Distance, distance
from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.rule import Rule

SHIFT, SPREAD, ROWS = 0.1, 0.2, 1000


def check(patient: Patient) -> Iterator[Finding]:
    """An error or a warning a layer."""
    sure, found = _distances(patient)
    for layer, apart in found:
        if apart.exceeds(SHIFT, SPREAD):
            shifted = apart.d / SHIFT >= apart.r / SPREAD
            yield Finding(
                "BN023",
                "error" if sure else "warning",
                f"{layer.name}: {_words(apart, sure)}",
                layer.name,
                apart.channel,
                apart.d if shifted else apart.r,
                SHIFT if shifted else SPREAD,
            )


def _words(apart: Distance, sure: bool) -> str:
    cause = "the running statistics belong to other weights; recompute them (update_bn, precise BN)"
    if sure:
        return f"re-estimated statistics differ ({apart.words()}): {cause}."
    return (
        f"the statistics of this data differ from the frozen ones ({apart.words()}): other data, "
        f"or {cause}. --data-is training tells which."
    )


def _distances(patient: Patient) -> tuple[bool, list[tuple[Layer, Distance]]]:
    """Whether what is compared with is training's own, and how far each layer is from it."""
    if patient.against is not None and patient.relation == "precise":
        pairs = (
            (layer, distance(layer, other.mean, other.var))
            for layer, other in patient.pairs(patient.against)
            if other.mean is not None and other.var is not None
        )
        return True, [(layer, apart) for layer, apart in pairs if apart is not None]
    rows = patient.require_rows(count=ROWS)
    if rows.kind == "live":
        raise NotChecked("training data: --data FILE.npz --data-is training")
    seen = patient.batchwise.layers
    measured = (
        (layer, distance(layer, seen[layer.name].mean, seen[layer.name].var))
        for layer in patient.layers
        if layer.name in seen
    )
    return rows.kind == "training", [(layer, apart) for layer, apart in measured if apart]


RULE = Rule("BN023", "running statistics belong to these weights", check)
