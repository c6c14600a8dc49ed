"""Options that several commands have, with one meaning and one help text."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Estimate(StrEnum):
    """Which statistics of a trained network are frozen."""

    population = "population"
    moving_average = "moving-average"


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StatisticsOption = Annotated[
    Estimate,
    typer.Option(help="What to freeze: Algorithm 2's statistics, or training's moving averages."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Bundle in spite of the doctor's errors; it is recorded.")
]
TensorBoard = Annotated[
    Path | None, typer.Option(help="Also write the metrics for TensorBoard into this folder.")
]
