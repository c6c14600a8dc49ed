"""From a name to results and report: runs experiments in their folders, and writes what they say.

OUT/NAME/ holds `settings.json`, `parts/` and `metrics/` (see `lab`), `results.json` and the plots;
OUT/report.html and OUT/report.md are written from the results of those experiments.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from training.experiments import NAMES, experiment
from training.experiments.experiment import Results
from training.experiments.lab import Lab, Progress
from training.experiments.report import Done, write_report
from training.files import write_bytes
from training.interrupts import stop_on_interrupt

RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for all experiments of a call."""

    out: Path
    quick: bool = False
    seed: int | None = None
    data: Path | None = None
    tensorboard: Path | None = None


def reproduce(names: Sequence[str], options: Options, progress: Progress) -> list[Done]:
    """Runs the experiments one after the other, on one thread, and writes results and report.

    One thread: networks this small gain nothing by more, and sums then have one order, so that the
    same seed gives the same numbers. Raises Interrupted with the finished parts kept.
    """
    chosen = [experiment(name) for name in names]
    done = []
    with _one_thread(), stop_on_interrupt() as stop:
        for this in chosen:
            config = this.quick if options.quick else this.full
            if options.seed is not None:
                config = dataclasses.replace(config, seed=options.seed)
            lab = Lab(
                options.out / this.name,
                dataclasses.asdict(config),
                progress=progress,
                stop=stop,
                data=options.data,
                tensorboard=options.tensorboard and options.tensorboard / this.name,
            )
            results = this.run(lab, config)
            seconds = sum(lab.seconds.values())
            section = this.section(config, results)
            done.append(Done(this, options.quick, config, section, round(seconds, 1)))
            _write_results(done[-1], results, lab.folder)
    write_report(done, options.out, _command(names, options))
    return done


def _command(names: Sequence[str], options: Options) -> str:
    """The command that makes the same report."""
    words = ["foldserve reproduce", "all" if tuple(names) == NAMES else " ".join(names)]
    words += ["--quick"] if options.quick else []
    words += [f"--seed {options.seed}"] if options.seed is not None else []
    return " ".join(words)


def _write_results(done: Done, results: Results, folder: Path) -> None:
    content = {
        "experiment": done.experiment.name,
        "title": done.experiment.title,
        "quick": done.quick,
        "settings": dataclasses.asdict(done.config),  # type: ignore[call-overload]
        "setup": done.experiment.setup,
        "torch": torch.__version__,
        "seconds": done.seconds,
        "findings": [dataclasses.asdict(finding) for finding in done.section.findings],
        "tables": [dataclasses.asdict(table) for table in done.section.tables],
        "notes": done.section.notes,
        "results": results,
    }
    write_bytes(folder / RESULTS, (json.dumps(content, ensure_ascii=False) + "\n").encode())


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
