"""What the doctor found, as data, as JSON and as a table. Knows nothing of networks."""

import math
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from training.doctor.finding import SEVERITIES, Finding, Severity

_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "dim"}


@dataclass(frozen=True)
class Diagnosis:
    """`findings` in the order of severity, then of the rules; `not_checked` has by rule what would
    be needed; `ignored` are the rules that were left out on request; `notes` are remarks on how
    the target was read."""

    target: str
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: dict[str, str]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What the network must not be served with."""
        return tuple(found for found in self.findings if found.severity == "error")

    def of_layer(self, name: str) -> tuple[Finding, ...]:
        """The findings on one layer."""
        return tuple(found for found in self.findings if found.layer == name)

    def counts(self) -> dict[Severity, int]:
        """How many findings there are of each severity."""
        return {s: sum(found.severity == s for found in self.findings) for s in SEVERITIES}

    def summary(self) -> str:
        """One line."""
        counts = self.counts()
        words = ", ".join(
            f"{counts[severity]} {name}{'' if counts[severity] == 1 else 's'}"
            for severity, name in zip(SEVERITIES, ("error", "warning", "remark"), strict=True)
        )
        ignored = f", {len(self.ignored)} ignored" if self.ignored else ""
        return (
            f"{words}; {len(self.checked)} rules checked, "
            f"{len(self.not_checked)} not checked{ignored}"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON's own types only; a number that JSON has not is null."""
        return {
            "target": self.target,
            **{f"{severity}s": count for severity, count in self.counts().items()},
            "findings": [
                {key: _plain(value) for key, value in found.to_json().items()}
                for found in self.findings
            ],
            "checked": list(self.checked),
            "not_checked": self.not_checked,
            "ignored": list(self.ignored),
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """A row for each finding, for a terminal."""
        caption = "\n".join((self.summary(), *self.notes))
        table = Table(caption=escape(caption), caption_justify="left")
        for column in ("rule", "severity", "layer", "channel", "measured", "threshold"):
            right = column in ("channel", "measured", "threshold")
            table.add_column(column, justify="right" if right else "left", overflow="fold")
        table.add_column("finding", ratio=1)
        for found in self.findings:
            channel = "" if found.channel is None else str(found.channel)
            figures = (_figure(found.measured), _figure(found.threshold))
            cells = (found.id, found.severity, found.layer or "", channel, *figures, found.message)
            table.add_row(*map(escape, cells), style=_STYLE[found.severity])
        return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
