"""A refusal is a value: the report keeps it, and nothing is raised."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why something is left as it is: one phrase with the offending value.

    `rule` is the rule that declined; None where the layer itself cannot be read as a line.
    """

    reason: str
    rule: str | None = None

    def __str__(self) -> str:
        return self.reason if self.rule is None else f"{self.rule}: {self.reason}"
