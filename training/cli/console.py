"""What the commands share: where words go, and how progress is shown.

Results go to standard output, everything else to standard error.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)


def fail(sentence: str, code: int) -> NoReturn:
    """One line on standard error, and out."""
    errors.print(f"foldserve: {sentence}", markup=False)
    sys.exit(code)


def say(sentence: str) -> None:
    """A line of the result on standard output, as it is: names in it are no markup."""
    output.print(sentence, markup=False)


def print_json(value: object) -> None:
    """A JSON object on standard output, for scripts."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())  # noqa: T201


def show_log() -> None:
    """Lets the toolkit's own remarks (what is fetched, say) through to standard error.

    Only its own: PyTorch's exporter remarks on every pass that it makes.
    """
    logger = logging.getLogger("training")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(sys.stderr))


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner with the time, where somebody is watching; nothing where nobody is."""
    if not errors.is_terminal:
        yield
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=errors, transient=True) as progress:
        progress.add_task(what)
        yield
