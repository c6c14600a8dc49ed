"""The drift baseline: what a network's layers look like on images that training did not see.

Run through the probe network, every image gives the mean m and the mean square q of each normalized
channel (`rows`). What is kept of them (`measure`), and why, is in `service.drift.baseline`, which
reads it. Without images there is only what the layers' parameters lead to expect (`analytic`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from service import manifest
from service.drift.baseline import Baseline
from service.manifest import Preprocessing
from training.baseline.analytic import analytic
from training.baseline.changes import known_changes, scale_of
from training.baseline.measure import measure
from training.baseline.rows import probe_rows
from training.baseline.signatures import LEAST_GROUPS, direction, make_signatures, some
from training.fold import FoldResult
from training.probe import Probed

CHANGED = 400  # images that the known changes are made to

__all__ = ["Reference", "baseline_of", "baseline_words"]


@dataclass(frozen=True, eq=False)
class Reference:
    """Images that the network was normalized for, and did not train on: rows by input name, as they
    go into the network, and where they come from, in words. `groups` [N] has a number for each
    image, the same for images that are alike because they belong together (frames of a video, parts
    of one picture); None: every image is for itself."""

    inputs: Mapping[str, NDArray[np.generic]]
    source: str
    groups: NDArray[np.generic] | None = None


def baseline_of(
    folded: FoldResult,
    probed: Probed,
    reference: Reference | None,
    pictures: Preprocessing | None = None,
) -> Baseline:
    """The baseline of every probed layer, measured on `reference` where it is given; with the
    signatures of known changes where these are enough pictures."""
    norms = [norm for norm in folded.normalizations if norm.name in probed.outputs]
    if reference is None:
        return analytic(norms)
    rows = probe_rows(probed.model, probed.outputs, reference.inputs)
    scales = {norm.name: norm.scale for norm in norms}
    baseline = measure(rows, scales, reference.groups)
    array = _pictures(reference.inputs, pictures)
    if array is None or baseline.images < LEAST_GROUPS:
        return baseline
    images, scale = some(len(rows), CHANGED), scale_of(array, pictures)
    inputs, found = dict.fromkeys(reference.inputs, array[images]), {}
    for name, change in known_changes(array.shape[1]).items():
        changed = probe_rows(probed.model, probed.outputs, inputs, partial(scale.apply, change))
        found[name] = direction(baseline.layers, rows, images, changed)
    groups = np.arange(len(rows)) if reference.groups is None else reference.groups
    return replace(baseline, signatures=make_signatures(baseline.layers, rows, found, groups))


def _pictures(
    inputs: Mapping[str, NDArray[np.generic]], pictures: Preprocessing | None
) -> NDArray[np.floating] | None:
    """The only input, where it is of pictures: real numbers [N, C, H, W], one channel or three, as
    the preprocessing makes them, where there is one."""
    array = next(iter(inputs.values()))
    if len(inputs) != 1 or array.ndim != 4 or array.shape[1] not in (1, 3):
        return None
    if pictures is not None and len(pictures.mean) != array.shape[1]:
        return None
    return cast("NDArray[np.floating]", array) if array.dtype.kind == "f" else None


def baseline_words(baseline: Baseline, reference: Reference | None) -> manifest.Baseline | None:
    """What the manifest says of it; None where there is no layer to watch."""
    if not baseline.layers:
        return None
    return manifest.Baseline(
        kind=baseline.kind,
        images=baseline.images,
        source="the layers' own parameters" if reference is None else reference.source,
        image_limit=baseline.image_limit,
        image_rate=baseline.image_rate,
        classes=baseline.classes,
        input=None if reference is None else _input(reference.inputs),
    )


def _input(inputs: Mapping[str, NDArray[np.generic]]) -> manifest.InputBaseline | None:
    """Mean and deviation by channel (axis 1) of the only input, where it is of real numbers."""
    array = next(iter(inputs.values()))
    if len(inputs) != 1 or array.dtype.kind != "f" or array.ndim < 2:
        return None
    channels = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
    mean, std = channels.mean(axis=1, dtype=np.float64), channels.std(axis=1, dtype=np.float64)
    return manifest.InputBaseline(mean=tuple(mean.tolist()), std=tuple(std.tolist()))
