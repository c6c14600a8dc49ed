"""`foldserve reproduce`: the experiments of the source documents, and their report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.cli.console import errors, print_json, say, show_log
from training.cli.options import Json, TensorBoard

if TYPE_CHECKING:
    from training.experiments.report import Done

Name = Annotated[
    str,
    typer.Argument(
        help="zjk, mlp, learning-rate, saturation, init-scale, input-scale, bias, batch-size, "
        "estimators, landscape, conditioning, axes, or all."
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Small settings: minutes for all of them.")]
Out = Annotated[Path | None, typer.Option(help="Folder of results, plots and report.")]
Data = Annotated[Path | None, typer.Option(help="Folder with MNIST's IDX files.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of weights and order; default 0.")]


def reproduce(
    name: Name,
    quick: Quick = False,
    out: Out = None,
    data: Data = None,
    seed: Seed = None,
    tensorboard: TensorBoard = None,
    as_json: Json = False,
) -> None:
    """Runs an experiment, or all, and writes a report of what is claimed and what was measured.

    Finished parts are kept: after an interruption the same command goes on.

    Example: `foldserve reproduce mlp --quick`
    """
    show_log()
    import torch  # noqa: F401  # first, so that it is what is named where it is not installed

    from training.experiments import NAMES
    from training.experiments.report import HTML
    from training.experiments.runner import Options, reproduce

    folder = out or Path("runs") / ("experiments-quick" if quick else "experiments")
    names = NAMES if name == "all" else (name,)
    with Display() as display:
        done = reproduce(names, Options(folder, quick, seed, data, tensorboard), display)
    report = folder / HTML
    if as_json:
        print_json({"report": str(report), "experiments": [_told(one) for one in done]})
        return
    for one in done:
        say(f"{one.experiment.name}: {one.experiment.title} ({one.time})")
        for finding in one.section.findings:
            say(f"  {finding.verdict}: {finding.claim}\n    {finding.measured}")
    say(f"report {report}")


def _told(done: "Done") -> dict[str, object]:
    findings = [
        {"claim": f.claim, "source": f.source, "measured": f.measured, "verdict": f.verdict}
        for f in done.section.findings
    ]
    return {"name": done.experiment.name, "seconds": done.seconds, "findings": findings}


class Display:
    """A bar for the part that runs, on a terminal; a line for each finished part elsewhere."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task = self._bar.add_task("", figures="", visible=False)
        self._figures = ""

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, part: str) -> None:
        """A part begins."""
        self._figures = ""
        self._bar.reset(self._task, description=part, figures="", visible=True)

    def advance(self, step: int, steps: int) -> None:
        """The part has done `step` of `steps`."""
        self._bar.update(self._task, completed=step, total=steps)

    def figures(self, values: Mapping[str, float]) -> None:
        """Loss and accuracy, where the part has them."""
        shown = [f"{name} {values[name]:.4f}" for name in ("loss", "accuracy") if name in values]
        self._figures = "  ".join(shown)
        self._bar.update(self._task, figures=self._figures)

    def end(self, part: str, seconds: float) -> None:
        """The part is done."""
        errors.print(f"{part}  {self._figures}  {seconds:.1f} s")
