"""Looks for every reason not to re-calibrate a bundle on certain images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from service.drift.reading import read_baseline
from training.baseline.rows import probe_rows
from training.graph import Array
from training.recalibrate import guards
from training.recalibrate.compare import predict
from training.recalibrate.parent import Parent

FEW, LATE, MIXTURE, CLASSES = "few images", "late layers", "mixture", "label shift"


@dataclass(frozen=True, slots=True)
class Looked:
    """Reasons not to do it, sentences by kind; and what could not be looked for, in words."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    not_checked: tuple[str, ...] = ()


def look_at_images(parent: Parent, inputs: Mapping[str, Array]) -> Looked:
    """As far as the parent's own layers tell."""
    found = {FEW: guards.few_images(min(len(array) for array in inputs.values()))}
    baseline = read_baseline(parent.bundle)
    if baseline is None:
        unchecked = (f"{LATE} and {MIXTURE}: the bundle has no baseline",)
        return Looked(_told(found), unchecked)
    rows = probe_rows(parent.probe, parent.probes, inputs)
    verdict, unlikeness = guards.seen(rows, baseline)
    found[LATE] = guards.only_late_layers(verdict)
    if baseline.kind == "analytic":
        return Looked(_told(found), (f"{MIXTURE}: the baseline is not of images",))
    found[MIXTURE] = guards.mixture(unlikeness, baseline, verdict)
    return Looked(_told(found))


def look_at_predictions(
    parent: Parent, network: onnx.ModelProto, inputs: Mapping[str, Array]
) -> Looked:
    """As far as the classes tell that the re-calibrated `network` gives."""
    watched = parent.bundle.manifest.baseline
    predicted = predict(network, inputs)
    if watched is None or watched.classes is None or predicted is None:
        return Looked({}, (f"{CLASSES}: the baseline has no predicted classes",))
    names = parent.bundle.manifest.labels
    return Looked(_told({CLASSES: guards.label_shift(predicted, watched.classes, names)}))


def _told(found: Mapping[str, str | None]) -> dict[str, str]:
    return {kind: sentence for kind, sentence in found.items() if sentence is not None}
