"""BN026: too few values to normalize by.

A training step has m·H·W values a channel. With one, PyTorch refuses ("Expected more than 1 value
per channel"), and the last, short mini-batch of an epoch may be it; with few, the statistics are
noise. Thresholds: 1 value an error, a mini-batch of less than 16 rows a warning.
"""

from collections.abc import Iterator

from training.doctor.finding import Finding, NotChecked
from training.doctor.patient import Patient, Training
from training.doctor.rule import Rule

SMALL = 16


def check(patient: Patient) -> Iterator[Finding]:
    """An error for the first layer that gets one value; a warning for a small mini-batch."""
    training = patient.require_training()
    least = min(training.batch_size, training.last_batch or training.batch_size)
    single = _single(patient, least)
    if single is not None:
        yield Finding(
            "BN026",
            "error",
            f"{single}: a mini-batch of {least} gives one value per channel ('Expected more than "
            "1 value per channel'). Use drop_last, a larger mini-batch or GroupNorm.",
            single,
            measured=1.0,
            threshold=2.0,
        )
    yield from _small(training)


def _single(patient: Patient, rows: int) -> str | None:
    """The first layer with one value a channel."""
    if rows > 1:
        return None  # whatever the positions are
    try:
        places = patient.positions
    except NotChecked as reason:
        raise NotChecked(f"the sizes of the activations: {reason}") from None
    return next((name for name, count in places.items() if count == 1), None)


def _small(training: Training) -> Iterator[Finding]:
    if training.batch_size < SMALL:
        yield Finding(
            "BN026",
            "warning",
            f"mini-batches of {training.batch_size} give noisy statistics; use {SMALL} or more, "
            "GroupNorm, or SyncBN over several processes.",
            measured=float(training.batch_size),
            threshold=float(SMALL),
        )


RULE = Rule("BN026", "mini-batches are large enough to normalize by", check)
