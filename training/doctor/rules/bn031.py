"""BN031: inputs that are scaled differently from those of training.

A forgotten /255, another mean and deviation, BGR for RGB, inverted pictures: the first layer tells
at once, since nothing before it is normalized. Thresholds on its input over the data: 1 σ in the
mean, or 1.5 in ln σ². Measured on a digits network: times 255 gives 77 and 11, another mean and
deviation 2.4 in ln σ², inverted 1.6 σ, noise of 0.3 only 0.8 in ln σ², which does not fire.
"""

from collections.abc import Iterator

from training.doctor.distance import departure
from training.doctor.finding import Finding, NotChecked
from training.doctor.patient import Patient
from training.doctor.rule import Rule

SHIFT, SPREAD, ROWS = 1.0, 1.5, 8


def check(patient: Patient) -> Iterator[Finding]:
    """One error, for the first layer."""
    patient.require_rows(count=ROWS)
    seen = patient.frozen.layers
    first = next(layer for layer in patient.layers if layer.name in seen)
    apart = departure(first, seen[first.name].mean, seen[first.name].var)
    if apart is None:
        raise NotChecked("a first layer with channels that vary")
    if apart.exceeds(SHIFT, SPREAD):
        shifted = apart.d / SHIFT >= apart.r / SPREAD
        yield Finding(
            "BN031",
            "error",
            f"{first.name}: inputs look scaled differently from training ({apart.words()}): /255, "
            "mean and std, BGR, or inverted. Give the data as training had it, or mend the "
            "preprocessing.",
            first.name,
            apart.channel,
            apart.d if shifted else apart.r,
            SHIFT if shifted else SPREAD,
        )


RULE = Rule("BN031", "inputs are scaled as in training", check)
