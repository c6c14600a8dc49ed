"""`foldserve train`: from a preset or a TOML file to a trained network, and on to a bundle."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from training.cli.console import errors, print_json, say, show_log, working
from training.cli.options import Estimate, Force, Json, StatisticsOption, TensorBoard
from training.metrics import MetricsWriter

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint
    from training.config import TrainingConfig

Preset = Annotated[str, typer.Argument(help="mnist-cnn, mnist-mlp, fashion-cnn, or a TOML file.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; default runs/NAME.")]
Data = Annotated[Path | None, typer.Option(help="Folder with the data set's IDX files.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.")]
Normalization = Annotated[
    str | None,
    typer.Option("--norm", help="Normalization in place of PyTorch's; see docs/normalization.md."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, order, augmentation, dropout.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Processes = Annotated[
    int, typer.Option("--nproc", min=1, help="Processes that share each mini-batch.")
]
Models = Annotated[Path | None, typer.Option("--bundle", help="Also write a bundle in here.")]


def train(
    preset: Preset,
    out: Out = None,
    data: Data = None,
    epochs: Epochs = None,
    seed: Seed = None,
    norm: Normalization = None,
    resume: Resume = False,
    processes: Processes = 1,
    models: Models = None,
    statistics: StatisticsOption = Estimate.population,
    tensorboard: TensorBoard = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Trains a network, estimates its population statistics, and bundles it if asked to.

    Ctrl-C leaves a checkpoint; --resume goes on to the same numbers as an uninterrupted run.
    `metrics.jsonl` in the run's folder follows loss and accuracy live.

    Example: `foldserve train mnist-cnn --bundle models/`
    """
    show_log()
    import torch  # noqa: F401  # first, so that it is what is named where it is not installed

    from training import pipeline
    from training.config import load_config
    from training.data import load
    from training.fit import follow
    from training.processes import is_worker

    config = load_config(preset).replace(epochs=epochs, seed=seed, norm=norm)
    folder = out or Path("runs") / config.name
    dataset = load(config.dataset, data)
    if is_worker():  # torchrun has started several; the first of them leads
        return follow(config, dataset, folder)
    started = time.monotonic()
    with ProgressReport(config) as shown, MetricsReport(folder, tensorboard, shown) as report:
        checkpoint = pipeline.train(
            config, dataset, folder, resume=resume, report=report, processes=processes
        )
    result: dict[str, object] = {
        "run": str(folder),
        "seconds": round(time.monotonic() - started, 1),
        "history": checkpoint.history,
        **checkpoint.metrics,
    }
    if models is not None:
        with working("folding, proving and bundling"):
            written = pipeline.bundle_run(
                checkpoint, dataset, models, statistics.value, force=force
            )
        result["bundle"] = str(written.folder)
    if as_json:
        print_json(result)
        return
    metrics = checkpoint.metrics
    say(
        f"accuracy {metrics['accuracy_population']:.2%} with population statistics, "
        f"{metrics['accuracy_moving_average']:.2%} with moving averages "
        f"(apart by at most {metrics['mean_distance']:.3f} σ in the mean, "
        f"{metrics['variance_distance']:.3f} in ln σ²)"
    )
    say(f"run {folder}: {result['seconds']} s")
    if models is not None:
        say(f"bundle {result['bundle']}")


class ProgressReport:
    """A bar with loss, accuracy and time left on a terminal; a line an epoch elsewhere."""

    def __init__(self, config: "TrainingConfig") -> None:
        self._config = config
        self._epochs_told = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task = self._bar.add_task(config.name, figures="")

    def __enter__(self) -> "ProgressReport":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, checkpoint: "Checkpoint", steps: int) -> None:
        """After a step: moves the bar, and tells of every finished epoch in a line."""
        totals = checkpoint.totals
        if totals["images"]:
            figures = (
                f"loss {totals['loss'] / totals['images']:.4f}  "
                f"accuracy {totals['correct'] / totals['images']:.2%}"
            )
            self._bar.update(self._task, figures=figures)
        self._bar.update(self._task, completed=checkpoint.step, total=steps)
        if len(checkpoint.history) > self._epochs_told and not totals["images"]:
            self._tell(checkpoint.history[-1])
        self._epochs_told = len(checkpoint.history)

    def _tell(self, row: dict[str, float]) -> None:
        errors.print(
            f"epoch {row['epoch']:>2.0f}/{self._config.epochs}  loss {row['loss']:.4f}  "
            f"accuracy {row['train_accuracy']:.2%}  test {row['test_accuracy']:.2%}  "
            f"{row['seconds']:.0f} s"
        )


class MetricsReport:
    """Writes loss and accuracy of the epoch so far every 50 steps, and each epoch's figures."""

    EVERY = 50

    def __init__(self, folder: Path, tensorboard: Path | None, shown: ProgressReport) -> None:
        self._folder, self._tensorboard, self._shown = folder, tensorboard, shown
        self._writer: MetricsWriter | None = None

    def __enter__(self) -> "MetricsReport":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def __call__(self, checkpoint: "Checkpoint", steps: int) -> None:
        """After a step; lines of steps that a resumed run makes again are dropped."""
        self._shown(checkpoint, steps)
        if self._writer is None:
            file = self._folder / "metrics.jsonl"
            self._writer = MetricsWriter(file, self._tensorboard, after_step=checkpoint.step - 1)
        totals = checkpoint.totals
        if not totals["images"]:
            row = checkpoint.history[-1]
            names = ("epoch", "loss", "train_accuracy", "test_accuracy")
            self._writer.write(checkpoint.step, {name: row[name] for name in names})
        elif checkpoint.step % self.EVERY == 0:
            values = {name: totals[key] / totals["images"] for name, key in _RUNNING.items()}
            self._writer.write(checkpoint.step, values)


_RUNNING = {"loss": "loss", "train_accuracy": "correct"}
