"""The networks of the drift benchmark, their pictures, and what the probes say of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from corruptions import LARGE, SMALL, Corruption, Pixels
from drift_photographs import parts
from numpy.typing import NDArray

from service.bundle import Bundle, open_bundle
from service.drift.baseline import Baseline
from service.drift.monitor import Sample
from service.drift.reading import read_baseline
from service.manifest import PROBE
from service.runtime import OnnxRuntime
from training.baseline import CHANGED
from training.baseline.changes import known_changes, scale_of
from training.baseline.measure import measure
from training.baseline.rows import ProbeRows
from training.baseline.signatures import direction, make_signatures, some
from training.data import load

ROOT = Path(__file__).resolve().parents[1]
NAME = "mobilenet-v2"
GARMENTS = f"{NAME}-garments"
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Said:
    """What the probe network says of pictures: rows of all layers' channels, and of the input."""

    sample: Sample
    scores: NDArray[np.floating]

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Said":
        """Some of the pictures."""
        s = self.sample
        predicted = None if s.predicted is None else s.predicted[chosen]
        sample = Sample(
            s.means[chosen],
            s.squares[chosen],
            predicted,
            s.input_means[chosen],
            s.input_squares[chosen],
        )
        return Said(sample, self.scores[chosen])


@dataclass(frozen=True, eq=False)
class Groups:
    """Of which photograph each picture is a part, [N]; no photograph is in both."""

    reference: NDArray[np.int64]
    held_out: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Subject:
    """A bundle, and pictures [N, H, W, C] from 0 to 1: those of its baseline, and the held-out
    ones with the answers that are right, where these are known; and their groups, where they are
    parts of photographs."""

    bundle: Bundle
    reference: Pixels
    held_out: Pixels
    known: NDArray[np.int64] | None
    corruptions: list[tuple[str, Corruption, tuple[float, ...]]]
    groups: Groups | None = None

    @cached_property
    def baseline(self) -> Baseline:
        """As the bundle holds it."""
        found = read_baseline(self.bundle)
        assert found is not None
        return found

    @cached_property
    def clean(self) -> Said:
        """What is said of the held-out pictures."""
        return self.look(self.held_out)

    @property
    def labels(self) -> NDArray[np.int64]:
        """What is right: what is known, or else what the network says of the clean picture."""
        return self.clean.scores.argmax(axis=1) if self.known is None else self.known

    @cached_property
    def probe(self) -> OnnxRuntime:
        """The probe network, on one thread as in the service."""
        return OnnxRuntime(self.bundle.read(PROBE), threads=1)

    def inputs(self, pixels: Pixels) -> NDArray[np.float32]:
        """As the bundle's preprocessing makes them of pixels."""
        how = self.bundle.manifest.preprocessing
        assert how is not None
        rows = (pixels - np.float32(how.mean)) / np.float32(how.std)
        return np.ascontiguousarray(rows.transpose(0, 3, 1, 2), np.float32)

    def look(self, pixels: Pixels) -> Said:
        """What is said of pixels."""
        parts = (pixels[i : i + _BATCH] for i in range(0, len(pixels), _BATCH))
        return self._said([self._say(self.inputs(part)) for part in parts])

    def say(self, inputs: NDArray[np.float32]) -> Said:
        """Runs the probe network."""
        parts = (inputs[i : i + _BATCH] for i in range(0, len(inputs), _BATCH))
        return self._said([self._say(part) for part in parts])

    def _said(self, parts: list[tuple[NDArray[np.floating], ...]]) -> Said:
        means, squares, scores, pixel_means, pixel_squares = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        predicted = scores.argmax(axis=1)
        return Said(Sample(means, squares, predicted, pixel_means, pixel_squares), scores)

    def _say(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.floating], ...]:
        name = self.bundle.manifest.inputs[0].name
        answers = self.probe.run({name: inputs})
        watched = set(self.baseline.places)
        probes = [layer.probe for layer in self.bundle.layers if layer.name in watched]
        flat = inputs.reshape(*inputs.shape[:2], -1).astype(np.float64)
        return (
            np.concatenate([answers[p.mean] for p in probes if p], axis=1),
            np.concatenate([answers[p.mean_square] for p in probes if p], axis=1),
            answers[self.bundle.manifest.outputs[0].name],
            flat.mean(axis=2),
            (flat**2).mean(axis=2),
        )

    @cached_property
    def both(self) -> Said:
        """What is said of the reference and, after it, of the held-out pictures."""
        return joined(self.look(self.reference), self.clean)

    @cached_property
    def changed(self) -> dict[str, tuple[Said, NDArray[np.int64]]]:
        """What is said of some of both when they are changed, and which of both these are."""
        images = some(len(self.both.scores), 2 * CHANGED)
        middle = len(self.reference)
        first, second = images[images < middle], images[images >= middle] - middle
        inputs = self.inputs(np.concatenate([self.reference[first], self.held_out[second]]))
        scale = scale_of(inputs, self.bundle.manifest.preprocessing)
        changes = known_changes(inputs.shape[1])
        return {name: (self.say(scale.apply(f, inputs)), images) for name, f in changes.items()}

    def measured(self, seen: NDArray[np.int64], groups: NDArray[np.int64] | None) -> Baseline:
        """A baseline of these of both, as the toolkit makes it; `groups` are those of the seen."""
        rows = self._rows(self.both.take(seen))
        scales = {name: self.bundle.statistics[name]["scale"] for name in self.baseline.places}
        baseline = measure(rows, scales, groups)
        places = np.full(len(self.both.scores), -1)
        places[seen] = np.arange(len(seen))
        found = {}
        for name, (said, images) in self.changed.items():
            among = places[images] >= 0
            after, before = self._rows(said.take(among)), places[images][among]
            found[name] = direction(baseline.layers, rows, before, after)
        numbers = np.arange(len(seen)) if groups is None else groups
        signatures = make_signatures(baseline.layers, rows, found, numbers)
        return replace(baseline, signatures=signatures)

    def _rows(self, said: Said) -> ProbeRows:
        places = self.baseline.places
        return ProbeRows(
            {name: said.sample.means[:, place] for name, place in places.items()},
            {name: said.sample.squares[:, place] for name, place in places.items()},
            said.sample.predicted,
            said.scores.shape[1],
        )


def digits(name: str, limit: int | None) -> Subject:
    """A shipped bundle: its baseline is of every second test image, the others are held out."""
    data = load(name.replace("fashion-cnn", "fashion-mnist").replace("mnist-cnn", "mnist"))
    pixels = (data.test_images[..., None] / 255).astype(np.float32)
    step = 2 * (len(data.test_images) // 2 // limit) if limit else 2
    even, odd = slice(0, None, step), slice(1, None, step)
    return Subject(
        open_bundle(ROOT / "models" / name / "1"),
        pixels[even],
        pixels[odd],
        data.test_labels[odd].astype(np.int64),
        SMALL,
    )


def photographs(folder: Path, pictures: list[bytes], each: int, seed: int) -> Subject:
    """MobileNetV2 with the ImageNet weights, and `each` random parts of every picture: of one half
    of the pictures for the baseline, of the other half as traffic. The bundle is made in `folder`,
    unless it is there."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(pictures))
    first, second = ([pictures[place] for place in order[start::2]] for start in (0, 1))
    seen, of_seen = parts(first, each * len(first), random)
    others, of_others = parts(second, each * len(second), random)
    bundle = _mobilenet(folder / "photographs", seen, of_seen)
    groups = Groups(of_seen, len(first) + of_others)
    return Subject(bundle, seen, others, None, LARGE, groups)


def garments(folder: Path, pictures: int, seed: int) -> Subject:
    """The same network on so many pictures of Fashion-MNIST, enlarged to 224 × 224, a third of them
    for the baseline: there are far fewer photographs than the largest windows need."""
    data = load("fashion-mnist")
    chosen = np.random.default_rng(seed).permutation(len(data.test_images))[:pictures]
    small = (data.test_images[chosen] / 255).astype(np.float32)
    large = small.repeat(8, axis=1).repeat(8, axis=2)[..., np.newaxis].repeat(3, axis=3)
    seen, others = large[: pictures // 3], large[pictures // 3 :]
    bundle = _mobilenet(folder / "garments", seen, None)
    return Subject(bundle, seen, others, None, LARGE)


def _mobilenet(folder: Path, seen: Pixels, groups: NDArray[np.int64] | None) -> Bundle:
    """The bundle in `folder`, which is made unless it is there."""
    place = folder / NAME / "1"
    if not (place / "manifest.json").exists():
        _write_mobilenet(folder, seen, groups)
    return open_bundle(place)


def _write_mobilenet(folder: Path, seen: Pixels, groups: NDArray[np.int64] | None) -> None:
    from training.baseline import Reference
    from training.bundle import Description, write_bundle
    from training.import_model import Request, import_model
    from training.pretrained import pretrained

    model, how = import_model(Request(NAME, pretrained=True)), pretrained(NAME).preprocessing
    rows = (seen - np.float32(how.mean)) / np.float32(how.std)
    name = model.graph.input[0].name
    inputs = {name: np.ascontiguousarray(rows.transpose(0, 3, 1, 2), np.float32)}
    reference = Reference(inputs, folder.name, groups)
    about = Description(NAME, preprocessing=how, output_activation="softmax")
    write_bundle(model, about, folder, reference=reference)


def joined(first: Said, second: Said) -> Said:
    """The pictures of one, and after them those of the other."""

    def both(field: str) -> np.ndarray:
        return np.concatenate([getattr(one.sample, field) for one in (first, second)])

    fields = ("means", "squares", "predicted", "input_means", "input_squares")
    sample = type(first.sample)(*(both(field) for field in fields))
    return Said(sample, np.concatenate([first.scores, second.scores]))


def disjoint(
    count: int,
    size: int,
    random: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Windows of `size` of `count` pictures, none in two; those of a group as far apart as can be:
    no window has two of a group while it is smaller than the number of groups."""
    order = random.permutation(count)
    if groups is not None:
        turn, seen = np.empty(count, np.int64), dict.fromkeys(groups.tolist(), 0)
        for place in order:
            turn[place] = seen[groups[place]]
            seen[groups[place]] += 1
        order = order[np.argsort(turn[order], kind="stable")]
        size_of_round = len(seen)
        if size <= size_of_round:  # a window ends with its round
            for start in range(0, count, size_of_round):
                yield from _cut(order[start : start + size_of_round], size)
            return
    yield from _cut(order, size)


def _cut(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]
