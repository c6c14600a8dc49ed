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

errors = Console(stderr=True, highlight=False)
output = Console(highlight=False)


def fail(sentence: str, code: int) -> NoReturn:
    """One line on standard error, and out."""
    errors.print(f"foldserve: {sentence}", soft_wrap=True, markup=False)
    sys.exit(code)


def print_json(value: object) -> None:
    """A JSON object on standard output, for scripts."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())  # noqa: T201


def show_log() -> None:
    """Lets the toolkit's own remarks (what is fetched, say) through to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


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
