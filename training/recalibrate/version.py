"""From a bundle and images of another domain to the bundle's next version.

Half of the images, chosen by a seed, are estimated from; the other half make the new baseline, and
tell what became of the predictions: neither may be of images that the statistics were fitted to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from service.drift.reading import read_baseline
from service.manifest import Comparison, LayerChange, Manifest, Recalibration
from training.baseline import Reference
from training.baseline.measure import LEAST_IMAGES as LEAST_FOR_BASELINE
from training.baseline.rows import probe_rows
from training.bundle import Description, Written, write_bundle
from training.errors import AnswerIsNo
from training.graph import Array
from training.recalibrate import guards
from training.recalibrate.compare import Classes, compare, predict
from training.recalibrate.estimate import PRIOR, Estimate, Progress, estimate
from training.recalibrate.parent import Parent, open_parent

SEED = 20150211
_PROOF_ROWS = 4


@dataclass(frozen=True, eq=False)
class Data:
    """Images as they go into the network, rows by input name, two or more; their labels [N] where
    they are known; where they come from, in words, and the SHA-256 of the file."""

    inputs: Mapping[str, Array]
    labels: Array | None
    source: str
    sha256: str

    def __len__(self) -> int:
        return min(len(array) for array in self.inputs.values())

    def take(self, index: NDArray[np.intp]) -> "Data":
        """The chosen images."""
        inputs = {name: array[index] for name, array in self.inputs.items()}
        labels = None if self.labels is None else self.labels[index]
        return Data(inputs, labels, self.source, self.sha256)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. `version` None takes the next free one, `models` None the folder that the
    bundle is in; `prior` is N₀; `source_domain` are images of the domain that the parent is for, to
    see what it loses there. `force` overrides the reasons not to do it, and the doctor's errors."""

    data: Data
    models: Path | None = None
    version: int | None = None
    prior: float = PRIOR
    source_domain: Data | None = None
    force: bool = False


def recalibrate(
    folder: Path, order: Order, progress: Progress = lambda done, passes: None
) -> Written:
    """Writes a version of the bundle in `folder` with statistics of `order.data`.

    Raises AnswerIsNo with what was measured where that would harm (`guards`) or a check of the
    bundle writer fails, UnusableInput where the bundle or the images cannot be used. Nothing is
    written then.
    """
    parent = open_parent(folder)
    reasons, unchecked = _reasons_before(parent, order.data)
    _refuse(reasons, order.force)
    chosen, held_out = _halves(order.data)
    found = estimate(parent.network, chosen.inputs, order.prior, progress=progress)
    shifted, missing = _reasons_after(parent, found, order.data)
    _refuse(shifted, order.force)
    words = Recalibration(
        method=parent.method,
        images=found.images,
        held_out=len(held_out),
        prior=order.prior,
        weight=found.weight,
        data=order.data.source,
        data_sha256=order.data.sha256,
        layers=tuple(
            LayerChange(
                name=change.name,
                mean_shift=change.mean_shift,
                variance_shift=change.variance_shift,
            )
            for change in found.changes
        ),
        new_domain=_compare(parent, found.model, held_out),
        source_domain=None
        if order.source_domain is None
        else _compare(parent, found.model, order.source_domain),
        forced=(*reasons, *shifted),
        not_checked=(*unchecked, *missing),
    )
    return _write(parent, order, found.model, words, held_out)


def _halves(data: Data) -> tuple[Data, Data]:
    order = np.random.default_rng(SEED).permutation(len(data))
    middle = (len(data) + 1) // 2
    return data.take(np.sort(order[:middle])), data.take(np.sort(order[middle:]))


def _refuse(reasons: tuple[str, ...], force: bool) -> None:
    if reasons and not force:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise AnswerIsNo(f"{reasons[0]}{more}; --force does it all the same")


def _reasons_before(parent: Parent, data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why not, as far as the parent's own layers tell; and what could not be looked for."""
    few = guards.few_images(len(data))
    baseline = read_baseline(parent.bundle)
    if baseline is None:
        return tuple(filter(None, [few])), (
            "the layers that have moved, and mixtures: no baseline",
        )
    rows = probe_rows(parent.probe, parent.probes, data.inputs)
    verdict, unlikeness = guards.seen(rows, baseline)
    late = guards.only_late_layers(verdict)
    if baseline.kind == "analytic":
        unchecked = ("mixtures: the baseline is an analytic one",)
        return tuple(filter(None, (few, late))), unchecked
    mixed = guards.mixture(unlikeness, baseline, verdict)
    return tuple(filter(None, (few, late, mixed))), ()


def _reasons_after(
    parent: Parent, found: Estimate, data: Data
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why not, as far as the new network's predictions tell."""
    watched = parent.bundle.manifest.baseline
    predicted = predict(found.model, data.inputs)
    if watched is None or watched.classes is None or predicted is None:
        return (), ("label shift: no predicted classes in the baseline",)
    reason = guards.label_shift(predicted, watched.classes, parent.bundle.manifest.labels)
    return tuple(filter(None, [reason])), ()


def _compare(parent: Parent, network: onnx.ModelProto, data: Data) -> Comparison:
    before: Classes | None = predict(parent.served, data.inputs)
    after = predict(network, data.inputs)
    if before is None or after is None:
        return Comparison(images=len(data))
    return compare(before, after, data.labels)


def _write(
    parent: Parent, order: Order, network: onnx.ModelProto, words: Recalibration, held_out: Data
) -> Written:
    told = parent.bundle.manifest
    accuracy = words.new_domain.accuracy_after
    description = Description(
        name=told.name,
        version=order.version,
        derivation=f"re-calibrated from version {told.version} on {words.images:,} images of "
        f"{words.data}",
        parent_version=told.version,
        preprocessing=told.preprocessing,
        labels=told.labels,
        output_activation=told.output_activation,
        metrics={}
        if accuracy is None
        else {"accuracy": accuracy, "accuracy_on": f"{len(held_out):,} images of {words.data}"},
        producer=_of_training(told),
        recalibration=words,
    )
    source = f"{words.data}, {len(held_out):,} images that the statistics are not of"
    enough = len(held_out) >= LEAST_FOR_BASELINE
    reference = Reference(held_out.inputs, source) if enough else None
    proof = {name: array[:_PROOF_ROWS] for name, array in order.data.inputs.items()}
    models = order.models or parent.bundle.folder.parent.parent
    return write_bundle(network, description, models, proof, reference, force=order.force)


def _of_training(told: Manifest) -> dict[str, str]:
    """What made the parent's weights; the tools that write this version are others."""
    tools = ("foldserve", "onnx", "onnxruntime")
    return {name: version for name, version in told.producer.items() if name not in tools}
