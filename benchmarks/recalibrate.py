"""Accuracy on changed images: frozen, re-calibrated, and with the statistics of each test batch.

    python benchmarks/recalibrate.py [--networks NAME …] [--images N] [--changes NAME …]

One table a network, a row a change: the accuracy of the bundle's own frozen network, of the network
re-calibrated on 16, 64 and 1,000 images of the changed domain (with the source's statistics as a
prior of 16 images, as by default), and of the network where every test batch of 16, 64 or all
images is normalized by its own statistics. With the reasons of `foldserve recalibrate` not to do
it on the 1,000.

The digits and garments are test images: every second one, from the first, made the shipped bundle's
baseline; 1,000 of the others are re-calibrated on, 1,000 more are tested. MobileNetV2 gets random
parts of photographs: of one half of them to re-calibrate on, of the other half to test; what is
right is what the frozen network says of the part before the change, where it is sure of it.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
import onnxruntime
from corruptions import Pixels, blur, brightness, contrast, noise
from numpy.typing import NDArray

from training.data import load
from training.recalibrate import estimate
from training.recalibrate.compare import predict
from training.recalibrate.parent import Parent, open_parent
from training.recalibrate.reasons import look_at_images, look_at_predictions

ROOT = Path(__file__).resolve().parents[1]
SIZES, LARGEST, DRAWS = (16, 64), 1000, 3
SEED = 20150211

Floats = NDArray[np.float32]
Change = Callable[[Pixels], Pixels]  # of pixels [N, H, W, C], from 0 to 1 before
Normalize = Callable[[Pixels], Floats]  # as they go into the network


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, pixels to re-calibrate on and to test, and what is right."""

    parent: Parent | None
    network: onnx.ModelProto
    adapt: Pixels
    test: Pixels
    labels: NDArray[np.int64]
    normalize: Normalize
    changes: dict[str, Change]
    other_mix: tuple[Pixels, Pixels, NDArray[np.int64]] | None = None

    def inputs(self, pixels: Pixels) -> dict[str, Floats]:
        """Rows for the network."""
        return {self.network.graph.input[0].name: self.normalize(pixels)}

    def accuracy(self, network: onnx.ModelProto, rows: Floats, labels: NDArray[np.int64]) -> float:
        """In percent."""
        found = predict(network, {self.network.graph.input[0].name: rows})
        assert found is not None
        return 100 * float((found == labels).mean())


def of_noise(strength: float) -> Change:
    return lambda pixels: noise(pixels, strength, np.random.default_rng(len(pixels)))


def of(change: Callable[..., Pixels], strength: float) -> Change:
    return lambda pixels: change(pixels, strength, np.random.default_rng(0))


def small(name: str, count: int) -> Subject:
    """A shipped bundle with the changes that suit pictures of 28 × 28."""
    data = load({"mnist-cnn": "mnist", "fashion-cnn": "fashion-mnist"}[name])
    order = np.random.default_rng(SEED).permutation(np.arange(1, len(data.test_images), 2))
    pixels = (data.test_images[..., np.newaxis] / 255).astype(np.float32)
    labels = data.test_labels.astype(np.int64)
    first, second = order[:LARGEST], order[LARGEST : LARGEST + count]
    low = [index[labels[index] < 5] for index in (order[:2500], order[2500:])]
    source = data.source

    def normalize(made: Pixels) -> Floats:
        rows = ((made - source.mean) / source.std).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(rows, np.float32)

    def unnormalized(made: Pixels) -> Pixels:
        """What is normalized to the pixels themselves."""
        return np.asarray(made * source.std + source.mean, np.float32)

    parent = open_parent(ROOT / "models" / name / "1")
    return Subject(
        parent,
        parent.network,
        pixels[first],
        pixels[second],
        labels[second],
        normalize,
        {
            "none": lambda made: made,
            "noise 0.1": of_noise(0.1),
            "noise 0.3": of_noise(0.3),
            "brightness + 0.05": lambda made: np.clip(made + np.float32(0.05), 0, 1),
            "brightness + 0.2": lambda made: np.clip(made + np.float32(0.2), 0, 1),
            "blur 1 px": of(blur, 1.0),
            "contrast × 0.5": lambda made: made * np.float32(0.5),
            "not divided by 255": lambda made: made * np.float32(255),
            "not normalized": unnormalized,
            "inverted": lambda made: 1 - made,
        },
        other_mix=(pixels[low[0][:LARGEST]], pixels[low[1][:count]], labels[low[1][:count]]),
    )


def photographs(count: int) -> Subject:
    """MobileNetV2 with the ImageNet weights on random parts of photographs."""
    from drift_photographs import fetch_photographs, parts

    from training.import_model import Request, import_model
    from training.pretrained import pretrained

    model, how = import_model(Request("mobilenet-v2", pretrained=True)), pretrained("mobilenet-v2")
    mean, std = (np.float32(values) for values in (how.preprocessing.mean, how.preprocessing.std))

    def normalize(made: Pixels) -> Floats:
        return np.ascontiguousarray(((made - mean) / std).transpose(0, 3, 1, 2), np.float32)

    pictures, random = fetch_photographs(), np.random.default_rng(SEED)
    order = random.permutation(len(pictures))
    first, second = ([pictures[place] for place in order[start::2]] for start in (0, 1))
    adapt, _ = parts(first, LARGEST, random)
    made, _ = parts(second, 2 * count, random)
    name = model.graph.input[0].name
    labels, sure = confident(model, {name: normalize(made)}, count)
    changes = {
        "none": lambda pixels: pixels,
        "noise 0.18": of_noise(0.18),
        "noise 0.38": of_noise(0.38),
        "brightness 0.3": of(brightness, 0.3),
        "brightness 0.5": of(brightness, 0.5),
        "contrast 0.2": of(contrast, 0.2),
        "contrast 0.1": of(contrast, 0.1),
        "blur 3 px": of(blur, 3.0),
        "blur 6 px": of(blur, 6.0),
        "not normalized": lambda pixels: pixels * std + mean,
    }
    print(
        f"\n{len(pictures)} photographs: {LARGEST} parts of {len(first)} to re-calibrate "
        f"on, {len(sure)} parts of the other {len(second)} to test, of "
        f"{len(set(labels.tolist()))} classes."
    )
    return Subject(None, model, adapt, made[sure], labels, normalize, changes)


def confident(
    model: onnx.ModelProto, inputs: dict[str, Floats], count: int
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """What the network says of the rows to which it gives half of the probability or more."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (name, rows), *_ = inputs.items()
    scores = np.concatenate(
        [session.run(None, {name: rows[i : i + 32]})[0] for i in range(0, len(rows), 32)]
    )
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    sure = np.flatnonzero(powers.max(axis=1) >= 0.5 * powers.sum(axis=1))[:count]
    return scores[sure].argmax(axis=1), sure


def rows_of(subject: Subject) -> Iterator[tuple[str, Floats, Floats, NDArray[np.int64]]]:
    """Every change by name: rows to re-calibrate on, rows to test, and what is right."""
    for name, change in subject.changes.items():
        yield (
            name,
            subject.normalize(change(subject.adapt)),
            subject.normalize(change(subject.test)),
            subject.labels,
        )
    if subject.other_mix is not None:
        adapt, test, labels = subject.other_mix
        yield "half of the classes", subject.normalize(adapt), subject.normalize(test), labels


def recalibrated(subject: Subject, adapt: Floats, test: Floats, labels: NDArray[np.int64]) -> str:
    """Cells: re-calibrated on 16, 64 (averages of some draws) and all images; and the reasons of
    the command not to do it."""
    name, random, cells = subject.network.graph.input[0].name, np.random.default_rng(SEED), []
    for size in SIZES:
        drawn = [random.choice(len(adapt), size, replace=False) for _ in range(DRAWS)]
        networks = (estimate(subject.network, {name: adapt[chosen]}).model for chosen in drawn)
        found = [subject.accuracy(network, test, labels) for network in networks]
        cells.append(f"{np.mean(found):.1f}")
    whole = estimate(subject.network, {name: adapt}).model
    cells.append(f"{subject.accuracy(whole, test, labels):.1f}")
    return " | ".join([*cells, reasons(subject, whole, {name: adapt})])


def reasons(subject: Subject, whole: onnx.ModelProto, inputs: dict[str, Floats]) -> str:
    """Their kinds; a network without a bundle has none."""
    if subject.parent is None:
        return "—"
    looked = (
        look_at_images(subject.parent, inputs),
        look_at_predictions(subject.parent, whole, inputs),
    )
    return ", ".join(kind for one in looked for kind in one.reasons)


def by_batch(subject: Subject, test: Floats, labels: NDArray[np.int64]) -> str:
    """Cells: every batch of 16, 64 or all test images by its own statistics."""
    name, cells = subject.network.graph.input[0].name, []
    for size in (*SIZES, len(test)):
        right = 0.0
        starts = range(0, len(test) - size + 1, size)
        for start in starts:
            batch = slice(start, start + size)
            network = estimate(subject.network, {name: test[batch]}, prior=0).model
            right += subject.accuracy(network, test[batch], labels[batch])
        cells.append(f"{right / len(starts):.1f}")
    return " | ".join(cells)


def table(subject: Subject, chosen: list[str]) -> None:
    """Prints a row as soon as it is known; none chosen: all."""
    test = len(subject.test)
    head = [f"re-calibrated, {size}" for size in (*SIZES, LARGEST)]
    head += ["refused for", *(f"by batch of {size}" for size in (*SIZES, test))]
    print("\n| change | frozen | " + " | ".join(head) + " |")
    print("|---" + "|--:" * 4 + "|---" + "|--:" * 3 + "|")
    for name, adapt, rows, labels in rows_of(subject):
        if chosen and name not in chosen:
            continue
        frozen = subject.accuracy(subject.network, rows, labels)
        cells = recalibrated(subject, adapt, rows, labels), by_batch(subject, rows, labels)
        print(f"| {name} | {frozen:.1f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Prints a table a network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ["mnist-cnn", "fashion-cnn", "mobilenet-v2"]
    parser.add_argument("--networks", nargs="+", choices=names, default=names)
    parser.add_argument("--images", type=int, default=1000, help="test images (photographs: 192)")
    parser.add_argument("--changes", nargs="+", default=[], help="rows by name; default: all")
    arguments = parser.parse_args()
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} processors, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )
    for name in arguments.networks:
        print(f"\n### {name}", flush=True)
        if name == "mobilenet-v2":
            table(photographs(min(arguments.images, 192)), arguments.changes)
        else:
            table(small(name, arguments.images), arguments.changes)


if __name__ == "__main__":
    main()
