"""How often the drift verdict is wrong on clean traffic, and what it finds of corrupted traffic.

    python benchmarks/drift.py [--networks mnist-cnn,fashion-cnn,mobilenet-v2] [--quick]
        [--python INTERPRETER] [--folder FOLDER]

Every figure is a share of windows of n held-out pictures, none of which is in two windows of one
split, with its 95 % confidence interval (Wilson). False alarms: baselines measured anew on one
half of the pictures, windows from the other, for several random splits. Detection: the bundle's own
baseline, windows of 10 corrupted pictures that it has not seen. Beside it the same windows through
two-sample tests of a maintained library (alibi-detect, in INTERPRETER; left out where it is not
there) on pixels and on the softmax. Bundles that are made for it are kept in FOLDER.

`mobilenet-v2` is on photographs, and `mobilenet-v2-garments` the same network on pictures that
there are enough of for the largest windows. Of photographs several random parts are taken. All
parts of one are on one side of a split, and a window has no two parts of one while it is smaller
than the number of photographs.
"""

import argparse
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
from drift_mistakes import mistakes  # noqa: E402
from drift_peers import Peers, reduced, softmax  # noqa: E402
from drift_subjects import GARMENTS, Said, Subject, digits, disjoint, garments, photographs  # noqa: E402
from drift_subjects import NAME as PHOTOGRAPHS  # noqa: E402

from service.drift.baseline import Baseline  # noqa: E402
from service.drift.monitor import Monitor, Stretch  # noqa: E402
from service.drift.reading import read_input, read_pictures  # noqa: E402
from service.drift.report import describe  # noqa: E402
from service.drift.verdict import judge  # noqa: E402

LEVEL, SEED, SIZE = 0.01, 20150211, 10
SIZES = (5, 10, 30, 100, 300, 1000)
MANY = 5_400  # pictures for the largest windows of the large network


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    splits: int
    windows: int  # of clean traffic, at most, of each size and split
    pictures: int | None  # held-out ones, or parts of each photograph; None for all
    corrupted: int  # of each corruption
    peer_windows: int


FULL = Effort(splits=12, windows=100, pictures=None, corrupted=1000, peer_windows=20)
LARGE = Effort(splits=10, windows=100, pictures=8, corrupted=296, peer_windows=14)
QUICK_LARGE = Effort(splits=1, windows=20, pictures=2, corrupted=30, peer_windows=3)
QUICK = Effort(splits=1, windows=20, pictures=300, corrupted=50, peer_windows=3)


def verdict_of(said: Said, chosen: np.ndarray, baseline: Baseline) -> str:
    """The verdict on one window of pictures, through the monitor of the service."""
    return judge(_watched(said, chosen, baseline).layers, baseline, LEVEL).word


def _watched(said: Said, chosen: np.ndarray, baseline: Baseline) -> Stretch:
    part = said.take(chosen)
    monitor = Monitor(baseline, part.sample.input_means.shape[1], step_s=60.0, steps=1)
    monitor.add(part.sample, now=0.0)
    return monitor.read(0.0)


def wilson(hits: int, trials: int) -> str:
    """A share with its 95 % confidence interval (Wilson 1927)."""
    z, p = 1.96, hits / trials
    middle = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{p:.1%} ({low:.1%}–{high:.1%}; {hits}/{trials})"


def false_alarms(name: str, subject: Subject, effort: Effort) -> None:
    """Prints the rates on clean traffic."""
    random = np.random.default_rng(SEED)
    found: dict[int, list[str]] = {size: [] for size in SIZES}
    for baseline, rest, groups in _splits(subject, effort.splits, random):
        for size in SIZES:
            drawn = disjoint(len(rest.scores), size, random, groups)
            windows = list(islice(drawn, effort.windows))
            found[size] += [verdict_of(rest, one, baseline) for one in windows]
    for size, words in found.items():
        if words:
            alarms, significant = (
                wilson(sum(word in kinds for word in words), len(words))
                for kinds in (("drift",), ("drift", "watch"))
            )
            print(f"| {name} | {size} | {alarms} | {significant} |", flush=True)


def _splits(
    subject: Subject, count: int, random: np.random.Generator
) -> Iterator[tuple[Baseline, Said, np.ndarray | None]]:
    """Baselines, and what is said of pictures that are not in them, with their groups: first as the
    bundle has it."""
    groups = subject.groups
    yield subject.baseline, subject.clean, None if groups is None else groups.held_out
    if count == 1:
        return
    numbers = np.arange(len(subject.both.scores))
    if groups is not None:
        numbers = np.concatenate([groups.reference, groups.held_out])
    for _ in range(count - 1):
        order = random.permutation(len(numbers))
        first = random.permutation(numbers.max() + 1)[numbers[order]] <= numbers.max() // 2
        seen, rest = order[first], order[~first]
        known = None if groups is None else numbers[seen], None if groups is None else numbers[rest]
        yield subject.measured(seen, known[0]), subject.both.take(rest), known[1]


def detection(name: str, subject: Subject, effort: Effort, peers: Peers) -> None:
    """Prints what is found of each corruption in windows of ten, and by whom."""
    random = np.random.default_rng(SEED + 1)
    pixels = subject.held_out[: effort.corrupted]
    labels = subject.labels[: effort.corrupted]
    groups = None if subject.groups is None else subject.groups.held_out[: len(pixels)]
    right = np.mean(subject.clean.scores[: len(pixels)].argmax(axis=1) == labels)
    rows, windows_of_peers = [], []
    for kind, corrupt, strengths in [("none", None, (0.0,)), *subject.corruptions]:
        for strength in strengths:
            moved = pixels if corrupt is None else corrupt(pixels, strength, random)
            said = subject.look(moved)
            lost = right - np.mean(said.scores.argmax(axis=1) == labels)
            windows = list(disjoint(len(pixels), SIZE, random, groups))
            reports = [_report(said, one, subject) for one in windows]
            weakest = strength == strengths[0]  # it tells detectors apart, and they take long
            rows.append((f"{kind} {strength:g}", f"{100 * lost:.1f}", reports, weakest))
            if weakest:
                some = windows[: effort.peer_windows]
                windows_of_peers += [(reduced(moved[w]), softmax(said.scores[w])) for w in some]
    others = [iter(column) for column in peers.judge(windows_of_peers)]
    for words, lost_points, reports, compared in rows:
        count = min(effort.peer_windows, len(reports)) if compared else 0
        hits = [list(islice(column, count)) for column in others]
        drift = [report["verdict"] == "drift" for report in reports]
        shown = [wilson(sum(x), len(x)) if x else "" for x in (drift, *hits)]
        cells = [name, words, lost_points, *shown]
        print(f"| {' | '.join([*cells, *_most_frequent(reports)])} |", flush=True)


def costs(name: str, subject: Subject, peers: Peers) -> None:
    """Prints milliseconds an image, on one thread, in windows of ten."""
    inputs = subject.inputs(subject.held_out[:SIZE])
    everything = np.arange(SIZE)
    probing, judging = [], []
    for _ in range(10):
        began = time.perf_counter()
        said = subject.say(inputs)
        probed = time.perf_counter()
        verdict_of(said, everything, subject.baseline)
        probing.append(probed - began)
        judging.append(time.perf_counter() - probed)
    figures = [1000 * float(np.median(times)) / SIZE for times in (probing, judging)]
    cells = [*figures, *peers.milliseconds(SIZE)]
    print(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in cells)} |", flush=True)


def _report(said: Said, chosen: np.ndarray, subject: Subject) -> dict[str, Any]:
    reference = read_input(subject.bundle), read_pictures(subject.bundle)
    stretch = _watched(said, chosen, subject.baseline)
    return describe(stretch, subject.baseline, LEVEL, reference)


def _most_frequent(reports: list[dict[str, Any]]) -> Iterator[str]:
    """Of the windows that are drift: the likely cause that is told most often, and the diagnosis
    without the layer's name, each with how often."""
    drifted = [report for report in reports if report["verdict"] == "drift"]
    causes = [report["likely_cause"] or "none" for report in drifted]
    diagnoses = [re.sub(r" \('[^)]*\)", "", report["diagnosis"]) for report in drifted]
    for words in (causes, diagnoses):
        best = max(set(words), key=words.count, default=None)
        yield "–" if best is None else f"{best} ({words.count(best)}/{len(words)})"


def _subject(name: str, effort: Effort, folder: Path) -> Subject:
    if name == GARMENTS:
        return garments(folder, MANY if effort is LARGE else effort.corrupted * 10, SEED)
    if name != PHOTOGRAPHS:
        return digits(name, effort.pictures)
    from drift_photographs import fetch_photographs

    pictures, each = fetch_photographs(), effort.pictures or 8
    print(f"{each} random parts of each of {len(pictures)} photographs\n")
    return photographs(folder, pictures, each, SEED)


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", default="mnist-cnn,fashion-cnn,mobilenet-v2")
    parser.add_argument("--quick", action="store_true", help="few pictures: whether it runs")
    parser.add_argument("--python", help="an interpreter that has alibi-detect")
    parser.add_argument("--folder", type=Path, help="where bundles are kept that are made for it")
    parser.add_argument("--parts", default="false-alarms,detection,mistakes,costs")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    print(
        f"{platform.machine()}, ONNX Runtime {ort.__version__}, one thread, seed {SEED}, "
        f"nominal rate {LEVEL:.0%}\n"
    )
    with tempfile.TemporaryDirectory() as made:
        for name in arguments.networks.split(","):
            small, large = (QUICK, QUICK_LARGE) if arguments.quick else (FULL, LARGE)
            effort = large if name.startswith(PHOTOGRAPHS) else small
            subject = _subject(name, effort, arguments.folder or Path(made))
            if "false-alarms" in parts:
                print("| network | n | called drift | significant |\n|---|---|---|---|")
                false_alarms(name, subject, effort)
            scores = subject.look(subject.reference[:1000]).scores
            peers = Peers(arguments.python, subject.reference[:1000], softmax(scores))
            columns = " | ".join(["corruption", "points lost", "foldserve", *peers.names])
            if "detection" in parts:
                print(f"\n| network | {columns} | likely cause | diagnosis |")
                print(f"|{'---|' * (6 + len(peers.names))}")
                detection(name, subject, effort, peers)
            if "mistakes" in parts:
                print("\n| network | mistake | verdict | likely cause |\n|---|---|---|---|")
                mistakes(name, subject, SIZE)
            if "costs" in parts:
                names = " | ".join(["probe", "scores", *peers.names])
                print(f"\n| network | {names} |\n|{'---|' * (3 + len(peers.names))}")
                costs(name, subject, peers)
            print(flush=True)


if __name__ == "__main__":
    main()
