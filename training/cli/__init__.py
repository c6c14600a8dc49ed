"""The command line `foldserve`: arguments in, one clear line and an exit code out.

Each command imports what it needs when it runs, so that `foldserve serve` starts without PyTorch
and `--help` answers at once.
"""

import sys
from collections.abc import Sequence

import typer

from training.cli import bundle, doctor, export, fold, recalibrate, reproduce, serve, train
from training.cli.console import fail
from training.errors import ToolkitError, UnusableInput

EXTRAS = {
    "torch": "training",
    "onnxscript": "training",
    "safetensors": "training",
    "matplotlib": "training",
    "jinja2": "training",
    "tensorboardX": "training",
    "onnx": "offline",
    "onnx_ir": "offline",
}

app = typer.Typer(
    name="foldserve",
    help="Fold it. Freeze it. Serve it. Watch it.\n\n"
    "A model server for networks trained with batch normalization.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command()(train.train)
app.command()(export.export)
app.command()(fold.fold)
app.command()(bundle.bundle)
app.command()(doctor.doctor)
app.command()(recalibrate.recalibrate)
app.command()(reproduce.reproduce)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 the answer is no, 2 unusable input, 130 interrupted."""
    try:
        app(arguments, standalone_mode=True)
    except ToolkitError as error:
        fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        wanted = f"this command needs {error.name}: pip install 'foldserve[{extra}]'"
        fail(wanted, UnusableInput.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
