"""BN005: statistics that are still the initial values, mean 0 and variance 1 in every channel.

Exact equality in all channels is the fault. A counter of 0 beside other values is only remarked
on: weights converted from another framework have real statistics and no counter. detectron2's
variance of 1 - ε is left alone, since it is how that library writes a layer that has only scale
and shift.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """An error a layer; a remark where only the counter says so."""
    for layer in patient.require_layers():
        if layer.mean is None or layer.var is None or not layer.channels:
            continue
        if np.all(layer.mean == 0) and np.all(layer.var == 1):
            counted = "" if layer.count is None else f" after {layer.count} batches"
            yield Finding(
                "BN005",
                "error",
                f"{layer.name}: statistics are still the initial values (mean 0, variance 1)"
                f"{counted}. Train in training mode, or re-estimate them on training data.",
                layer.name,
                measured=layer.count,
            )
        elif layer.count == 0 and layer.estimator != "population":
            yield Finding(
                "BN005",
                "info",
                f"{layer.name}: the counter is 0 but the statistics are not the initial values: "
                "they were converted or written by hand.",
                layer.name,
                measured=0,
            )


RULE = Rule("BN005", "statistics are no longer the initial values", check)
