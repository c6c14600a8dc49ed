"""Asks every rule in order, and collects what they say."""

from collections.abc import Collection, Sequence

from training.doctor.diagnosis import Diagnosis
from training.doctor.finding import SEVERITIES, Finding, NotChecked
from training.doctor.patient import Patient
from training.doctor.rule import Rule
from training.doctor.rules import RULES


def examine(
    patient: Patient, ignore: Collection[str] = (), rules: Sequence[Rule] = RULES
) -> Diagnosis:
    """The findings of all rules but those ignored, the most severe first.

    What a rule found before it could look no further is kept.
    """
    findings: list[Finding] = []
    not_checked: dict[str, str] = {}
    asked = [rule for rule in rules if rule.id not in ignore]
    for rule in asked:
        try:
            for found in rule.check(patient):
                findings.append(found)  # noqa: PERF402 (what came before a NotChecked is kept)
        except NotChecked as reason:
            not_checked[rule.id] = str(reason)
    return Diagnosis(
        target=patient.name,
        findings=tuple(sorted(findings, key=lambda found: SEVERITIES.index(found.severity))),
        checked=tuple(rule.id for rule in asked if rule.id not in not_checked),
        not_checked=not_checked,
        ignored=tuple(sorted(ignore)),
        notes=patient.notes,
    )
