"""What an experiment is: frozen settings, a run that yields plain values, a section from them.

The section (findings, tables, figures) is made from the results alone, so that a report can be
written anew without training anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from training.experiments.lab import Lab

Results = dict[str, Any]
Verdict = Literal["holds", "holds in part", "does not hold"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim, who makes it, what was measured, and how the two compare."""

    claim: str
    source: str
    measured: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header, with a caption that gives the units."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, and what it shows in words, for those who cannot see it."""

    name: str
    caption: str
    figure: "Figure"


@dataclass(frozen=True, slots=True)
class Section:
    """An experiment's part of the report. `notes` say why, where a claim did not hold."""

    findings: list[Finding]
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Experiment:
    """`run` gathers the results part by part; `section` tells what they say.

    `full` and `quick` are the settings, instances of one frozen dataclass with a `seed`.
    `setup` describes network, data and optimizer in words.
    """

    name: str
    title: str
    setup: str
    full: Any
    quick: Any
    run: Callable[["Lab", Any], Results]
    section: Callable[[Any, Results], Section]


def verdict(*holds: bool) -> Verdict:
    """Of the parts of a claim: all, some or none of them hold."""
    if all(holds):
        return "holds"
    return "holds in part" if any(holds) else "does not hold"


def percent(value: float, digits: int = 2) -> str:
    """A share as text, in percent; number and sign stay on one line."""
    return f"{100 * value:.{digits}f}\u00a0%"


def settings_table(config: Mapping[str, Any]) -> Table:
    """The settings of a run, as they are in its results."""
    rows = [
        (name.replace("_", " "), ", ".join(map(str, value)) if _several(value) else str(value))
        for name, value in config.items()
    ]
    return Table("Settings", ("setting", "value"), rows)


def _several(value: object) -> bool:
    return isinstance(value, list | tuple)
