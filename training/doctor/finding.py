"""What a rule says: a finding, or that it could not look."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule saw.

    An error says that the network must not be served as it is. `layer` is None for the network as
    a whole; `channel` is the worst one where a layer has several; `measured` and `threshold` are
    the figures that decided, where the rule has figures. The message says what to do.
    """

    id: str
    severity: Severity
    message: str
    layer: str | None = None
    channel: int | None = None
    measured: float | None = None
    threshold: float | None = None

    def sentence(self) -> str:
        """One line, as a bundle keeps it."""
        return f"{self.id} {self.severity}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """The fields; numbers that JSON has not (NaN, infinity) are null when written."""
        return asdict(self)


class NotChecked(Exception):
    """A rule cannot look at this patient; the message says what it would need."""
