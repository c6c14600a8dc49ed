"""BN010: ε decides the scale of a channel that matters.

The output's variance is γ²·v/(v + ε), not γ²: with v < 10·ε more than a tenth is missing, and
another framework's ε changes the answers. Channels with γ below 1 % of the layer's median hardly
count. Threshold: 10·ε. The worst channel is told.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.patient import Patient
from training.doctor.rule import Rule

FACTOR, MATTERS = 10.0, 0.01


def check(patient: Patient) -> Iterator[Finding]:
    """A warning a layer."""
    known = [layer for layer in patient.require_layers() if layer.epsilon and layer.var is not None]
    if not known:
        raise NotChecked("variances and ε: an ONNX file, a bundle, a run of ours or a module")
    for layer in known:
        assert layer.var is not None
        assert layer.epsilon is not None
        with np.errstate(invalid="ignore"):
            speaks = layer.gain > MATTERS * np.median(layer.gain)
            small = speaks & (layer.var >= 0) & (layer.var < FACTOR * layer.epsilon)
        if small.any():
            channel = int(np.argmin(np.where(small, layer.var, np.inf)))
            yield _tell(
                layer, int(small.sum()), channel, (float(layer.var[channel]), layer.epsilon)
            )


def _tell(layer: Layer, count: int, channel: int, figures: tuple[float, float]) -> Finding:
    var, epsilon = figures
    return Finding(
        "BN010",
        "warning",
        f"{layer.name}: ε dominates {count} of {layer.channels} channels; in channel {channel} the "
        f"output's variance is {var / (var + epsilon):.3g}·γ², not γ². Keep ε when converting, and "
        "prune channels that never vary.",
        layer.name,
        channel,
        var,
        FACTOR * epsilon,
    )


RULE = Rule("BN010", "variances are well above ε", check)
