"""What a rule is: an id, a title, and a function that looks at a patient.

A rule is stateless and knows no other. It yields findings, and raises `NotChecked` (best through
the `require_…` of `Patient`) when the patient does not have what it looks at.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from training.doctor.finding import Finding
from training.doctor.patient import Patient


@dataclass(frozen=True, slots=True)
class Rule:
    """`title` is what is right when the rule is silent."""

    id: str
    title: str
    check: Callable[[Patient], Iterable[Finding]]
