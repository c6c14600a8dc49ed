"""BN025: the network is better with the statistics of its batch than with the frozen ones.

The same labelled rows are classified twice. A gap says that training saw another network than the
one that is served: wrong statistics, or another distribution. Threshold: 1 point of accuracy, and
at least 500 rows, whose standard error for the difference is below that. The other way round is
no fault: small mini-batches are noisy.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.patient import Patient
from training.doctor.rule import Rule

POINTS, ROWS = 1.0, 500


def check(patient: Patient) -> Iterator[Finding]:
    """One warning for the network."""
    if patient.require_rows(count=ROWS).labels is None:
        raise NotChecked("labels: an array 'labels' in the data")
    frozen, batchwise = patient.frozen.accuracy, patient.batchwise.accuracy
    if frozen is None or batchwise is None:
        raise NotChecked("a network whose first output has a score for each class")
    gap = 100 * (batchwise - frozen)
    if gap > POINTS:
        yield Finding(
            "BN025",
            "warning",
            f"train/eval inconsistency of {gap:.1f} points: accuracy {frozen:.1%} with the frozen "
            f"statistics, {batchwise:.1%} with those of batches of {patient.batchwise.block}. "
            "Re-estimate the statistics on data like this.",
            measured=gap,
            threshold=POINTS,
        )


RULE = Rule("BN025", "frozen statistics classify as well as those of a batch", check)
