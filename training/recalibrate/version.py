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

from service.manifest import Comparison, LayerChange, Manifest, Recalibration
from training.baseline import Reference
from training.baseline.measure import LEAST_IMAGES as LEAST_FOR_BASELINE
from training.bundle import Description, Written, write_bundle
from training.errors import AnswerIsNo
from training.graph import Array
from training.recalibrate.compare import Classes, compare, predict
from training.recalibrate.estimate import PRIOR, Progress, estimate
from training.recalibrate.parent import Parent, open_parent
from training.recalibrate.reasons import Looked, look_at_images, look_at_predictions

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
    first = look_at_images(parent, order.data.inputs)
    _refuse(first, order.force)
    chosen, held_out = _halves(order.data)
    found = estimate(parent.network, chosen.inputs, order.prior, progress=progress)
    second = look_at_predictions(parent, found.model, order.data.inputs)
    _refuse(second, order.force)
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
        forced=(*first.reasons.values(), *second.reasons.values()),
        not_checked=(*first.not_checked, *second.not_checked),
    )
    return _write(parent, order, found.model, words, held_out)


def _halves(data: Data) -> tuple[Data, Data]:
    order = np.random.default_rng(SEED).permutation(len(data))
    middle = (len(data) + 1) // 2
    return data.take(np.sort(order[:middle])), data.take(np.sort(order[middle:]))


def _refuse(looked: Looked, force: bool) -> None:
    sentences = tuple(looked.reasons.values())
    if sentences and not force:
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        raise AnswerIsNo(f"{sentences[0]}{more}; --force does it all the same")


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
