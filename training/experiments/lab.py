"""Where an experiment runs: its folder, its finished parts, its progress, its interruption.

A part is one piece of work (a training, a measurement) with a name. Its results are kept in
`parts/NAME.json` as soon as it is done, its metrics in `metrics/NAME.jsonl` while it runs. A run
that was killed goes on with the first part that is not kept. Each part is seeded by itself, so
that its numbers depend neither on the parts before it nor on where the run was interrupted.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import torch

from training.data import load
from training.errors import Interrupted, UnusableInput
from training.experiments.digits import Digits, digits
from training.experiments.experiment import Results
from training.files import read_file, write_bytes
from training.metrics import MetricsWriter

SETTINGS = "settings.json"


class Progress(Protocol):
    """Who is told how far the work is."""

    def begin(self, part: str) -> None:
        """A part begins."""

    def advance(self, step: int, steps: int) -> None:
        """The part has done `step` of `steps`."""

    def figures(self, values: Mapping[str, float]) -> None:
        """The part's newest figures."""

    def end(self, part: str, seconds: float) -> None:
        """The part is done."""


class Part:
    """A piece of work while it runs: takes its figures and lets the user stop it."""

    def __init__(self, name: str, metrics: MetricsWriter, progress: Progress, stop: Event) -> None:
        self.name = name
        self._metrics, self._progress, self._stop = metrics, progress, stop

    def advance(self, step: int, steps: int) -> None:
        """After a step: moves the display. Raises Interrupted when the user asked to stop."""
        self._progress.advance(step, steps)
        if self._stop.is_set():
            raise Interrupted(
                f"stopped in {self.name} after step {step} of {steps}; the finished parts are "
                "kept: the same command goes on with this one"
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures at a step, for whoever follows live."""
        figures = {name: value for name, value in values.items() if name != "step"}
        self._metrics.write(step, figures)
        self._progress.figures(figures)


class Lab:
    """One experiment's folder; `settings` say what its finished parts were made with."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        progress: Progress,
        stop: Event,
        data: Path | None = None,
        tensorboard: Path | None = None,
    ) -> None:
        """Raises UnusableInput when the folder has a run with other settings."""
        self.folder, self._data, self._tensorboard = folder, data, tensorboard
        self._progress, self._stop = progress, stop
        self.seconds: dict[str, float] = {}  # of each part, whenever it ran
        self._keep_settings(json.loads(json.dumps(settings)))

    @cached_property
    def digits(self) -> Digits:
        """The complete MNIST, from 0 to 1."""
        return digits(load("mnist", self._data))

    def part(self, name: str, work: Callable[[Part], Results], *, seed: int) -> Results:
        """The results of `work`: kept ones, or those of running it now, seeded with `seed`."""
        kept = self.folder / "parts" / f"{name}.json"
        if kept.exists():
            results: Results = _parsed(kept)
            self.seconds[name] = results["seconds"]
            return results
        self._progress.begin(name)
        started = time.monotonic()
        board = self._tensorboard / name if self._tensorboard else None
        with (
            torch.random.fork_rng(devices=[]),
            MetricsWriter(self.folder / "metrics" / f"{name}.jsonl", board) as metrics,
        ):
            torch.manual_seed(seed)
            found = work(Part(name, metrics, self._progress, self._stop))
        seconds = time.monotonic() - started
        results = _plain({**found, "seconds": round(seconds, 1)})
        self.seconds[name] = results["seconds"]
        write_bytes(kept, json.dumps(results).encode())
        self._progress.end(name, seconds)
        if self._stop.is_set():
            raise Interrupted(f"stopped after {name}; the same command goes on from there")
        return results

    def _keep_settings(self, settings: Mapping[str, Any]) -> None:
        file = self.folder / SETTINGS
        if not file.exists():
            write_bytes(file, json.dumps(settings, indent=1).encode())
        elif _parsed(file) != settings:
            raise UnusableInput(
                f"{self.folder}: expected a run with the same settings, found one with others; "
                "choose another --out, or remove the folder"
            )


def _parsed(file: Path) -> Results:
    try:
        content: Results = json.loads(read_file(file))
    except ValueError as error:
        raise UnusableInput(f"{file}: expected JSON, got {error}") from None
    return content


def _plain(value: Any) -> Any:
    """As JSON has it: what is not finite becomes None, floats keep seven digits."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
