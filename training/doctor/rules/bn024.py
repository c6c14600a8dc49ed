"""BN024: moving averages that are not the precise statistics.

The last mini-batches dominate a moving average, and the weights moved on while it was taken
(Wu & Johnson 2021). Compared with the population statistics that a run of ours keeps beside it,
with training data, or with `--against OTHER --relation precise`. Thresholds over the live channels
of a layer: 0.05 σ in the mean, 0.1 in ln σ² (a healthy network has 0.003-0.013 and 0.013-0.026);
beyond BN023's thresholds that rule speaks. A remark where the precise ones are what is frozen.
"""

from collections.abc import Iterator

from training.doctor.distance import Distance, between, distance
from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.rule import Rule

SHIFT, SPREAD, ROWS = 0.05, 0.1, 1000
OTHER_WEIGHTS = (0.1, 0.2)  # from here on it is another fault: BN023


def check(patient: Patient) -> Iterator[Finding]:
    """Remarks on layers that hold both; warnings on what was measured."""
    beside = _beside(patient)
    for layer, apart in beside:
        yield from _judge(layer, apart, precise_is_frozen=True)
    try:
        measured = list(_measured(patient))
    except NotChecked:
        if not beside:
            raise
        return
    for layer, apart in measured:
        if not apart.exceeds(*OTHER_WEIGHTS):
            yield from _judge(layer, apart, precise_is_frozen=False)


def _judge(layer: Layer, apart: Distance, *, precise_is_frozen: bool) -> Iterator[Finding]:
    if not apart.exceeds(SHIFT, SPREAD):
        return
    shifted = apart.d / SHIFT >= apart.r / SPREAD
    what = "the moving average differs" if precise_is_frozen else "the frozen statistics differ"
    advice = "The precise ones are frozen" if precise_is_frozen else "Freeze population statistics"
    yield Finding(
        "BN024",
        "info" if precise_is_frozen else "warning",
        f"{layer.name}: {what} from the precise ones ({apart.words()}). {advice}.",
        layer.name,
        apart.channel,
        apart.d if shifted else apart.r,
        SHIFT if shifted else SPREAD,
    )


def _beside(patient: Patient) -> list[tuple[Layer, Distance]]:
    """Layers that hold both: how far the moving average is from the population statistics."""
    found = []
    for layer in patient.layers:
        known = (layer.mean, layer.var, layer.moving_mean, layer.moving_var)
        mean, var, moving_mean, moving_var = known
        if mean is None or var is None or moving_mean is None or moving_var is None:
            continue
        apart = between(moving_mean, moving_var, (mean, var), layer.live)
        if apart is not None:
            found.append((layer, apart))
    return found


def _measured(patient: Patient) -> Iterator[tuple[Layer, Distance]]:
    if patient.against is not None and patient.relation == "precise":
        precise = {
            other.name: (other.mean, other.var)
            for _, other in patient.pairs(patient.against)
            if other.mean is not None and other.var is not None
        }
    else:
        patient.require_rows("training", ROWS)
        precise = {name: (seen.mean, seen.var) for name, seen in patient.batchwise.layers.items()}
    for layer in patient.layers:
        if layer.name in precise:
            apart = distance(layer, *precise[layer.name])
            if apart is not None:
                yield layer, apart


RULE = Rule("BN024", "moving averages are the precise statistics", check)
