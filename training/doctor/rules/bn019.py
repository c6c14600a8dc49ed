"""BN019: a bias in front of a layer that subtracts it again.

The normalization removes any constant (Ioffe & Szegedy 2015, section 3.2): the bias was trained
for nothing, and folds as (b - mean)·multiplier + β. Threshold: any that is not all zeros.
"""

from collections.abc import Iterator

import numpy as np

from training import graph
from training.doctor.finding import Finding
from training.doctor.patient import Patient
from training.doctor.producer import producer_of
from training.doctor.rule import Rule


def check(patient: Patient) -> Iterator[Finding]:
    """A remark a layer."""
    patient.require_network()
    for layer in patient.layers:
        producer = producer_of(layer)
        if producer is not None and producer.bias is not None and np.any(producer.bias != 0):
            yield Finding(
                "BN019",
                "info",
                f"{layer.name}: the bias of {graph.node_name(producer.node)} is redundant; it is "
                "folded as (b - mean)·multiplier + bias. Train without it (bias=False).",
                layer.name,
            )


RULE = Rule("BN019", "nothing in front of a layer has a bias", check)
