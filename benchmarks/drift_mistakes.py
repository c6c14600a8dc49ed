"""The usual mistakes in preprocessing, and what the service says of them."""

import numpy as np
from corruptions import Pixels
from drift_subjects import Subject, disjoint

from service.drift.monitor import Monitor
from service.drift.reading import read_input, read_pictures
from service.drift.report import describe

LEVEL, SEED, WINDOWS = 0.01, 7, 20


def mistakes(name: str, subject: Subject, size: int) -> None:
    """Prints a row for each mistake: of how many windows it is drift, and the causes named."""
    pixels = subject.held_out[: size * WINDOWS]
    groups = None if subject.groups is None else subject.groups.held_out[: len(pixels)]
    for words, inputs in _made(subject, pixels):
        said = subject.say(inputs)
        reports = []
        for chosen in disjoint(len(pixels), size, np.random.default_rng(SEED), groups):
            part = said.take(chosen)
            monitor = Monitor(subject.baseline, inputs.shape[1], step_s=60.0, steps=1)
            monitor.add(part.sample, now=0.0)
            reference = (read_input(subject.bundle), read_pictures(subject.bundle))
            reports.append(describe(monitor.read(0.0), subject.baseline, LEVEL, reference))
        drift = sum(report["verdict"] == "drift" for report in reports)
        causes = [report["likely_cause"] or "none" for report in reports]
        told = "; ".join(f"{cause} ({causes.count(cause)})" for cause in dict.fromkeys(causes))
        print(f"| {name} | {words} | {drift}/{len(reports)} drift | {told} |", flush=True)


def _made(subject: Subject, pixels: Pixels) -> list[tuple[str, np.ndarray]]:
    def moved(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2), np.float32)

    right = subject.inputs(pixels)
    made = [
        ("none", right),
        ("pixels not divided by 255", subject.inputs(255 * pixels)),
        ("no preprocessing at all", moved(255 * pixels)),
        ("normalization missing", moved(pixels)),
        ("divided by 255 twice", subject.inputs(pixels / 255)),
        ("normalized twice", subject.inputs(right.transpose(0, 2, 3, 1))),
        ("inverted", subject.inputs(1 - pixels)),
        ("scaled to -1 … 1", moved(2 * pixels - 1)),
    ]
    if pixels.shape[3] == 3:
        made.append(("BGR for RGB", subject.inputs(pixels[..., ::-1])))
    return made
