"""BN007: a momentum that was meant in another framework's convention.

PyTorch's momentum multiplies the NEW value (default 0.1), that of ONNX, Keras and Flax the OLD one
(0.9, 0.99). A number carried over as it is keeps 0.1 of the past where 0.9 was meant: the average
is then the last batch. Threshold on k, the weight kept on the old value: below 0.5 (a window of
less than three batches) an error; 0.9999 and above (a window of 20,000 batches; 1 never learns) a
warning. Layers with population statistics do not use it.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.layer import Layer
from training.doctor.momentum import Momentum
from training.doctor.patient import Patient
from training.doctor.rule import Rule

SHORT, LONG = 0.5, 0.9999


def check(patient: Patient) -> Iterator[Finding]:
    """An error or a warning a layer."""
    known = [layer for layer in patient.require_layers() if layer.momentum is not None]
    if not known:
        raise NotChecked("the momentum: an ONNX attribute, a run of ours or a module")
    for layer in known:
        kept = layer.momentum.kept if layer.momentum else None
        if kept is None or layer.estimator == "population" or SHORT <= kept < LONG:
            continue
        assert layer.momentum is not None
        yield Finding(
            "BN007",
            "error" if kept < SHORT else "warning",
            _words(layer, layer.momentum, kept),
            layer.name,
            measured=kept,
            threshold=SHORT if kept < SHORT else LONG,
        )


def _words(layer: Layer, momentum: Momentum, kept: float) -> str:
    value = momentum.value or 0.0
    window = f"window {2 / (1 - kept) - 1:.3g} batches" if kept < 1 else "it never moves"
    return (
        f"{layer.name}: momentum {value:.6g} in {momentum.framework} meaning keeps {kept:.6g} of "
        f"the past ({window}). Did you mean {1 - value:.6g}? Re-estimate the statistics."
    )


RULE = Rule("BN007", "momentum is meant in its framework's convention", check)
