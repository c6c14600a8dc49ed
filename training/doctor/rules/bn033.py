"""BN033: mini-batches that are not shuffled.

For rows in random order the mean of m rows varies by S/m, S being the variance between rows. Rows
sorted by class or source vary more, and the moving average follows whatever came last. Compared
over consecutive rows of the training data, as the file has them. Threshold: a ratio of 4, at the
worst layer; at least 8 mini-batches, where chance stays below 2.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding, NotChecked
from training.doctor.observation import Seen
from training.doctor.patient import Patient
from training.doctor.rule import Rule

LIMIT, BATCHES = 4.0, 8


def check(patient: Patient) -> Iterator[Finding]:
    """One warning for the network."""
    patient.require_rows("training")
    found = patient.frozen
    batches = found.rows // found.block
    if batches < BATCHES or found.block < 2:
        raise NotChecked(f"at least {BATCHES} mini-batches of training data; there are {batches}")
    ratios = {name: _ratio(seen, found.block) for name, seen in found.layers.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    if ratios[worst] > LIMIT:
        yield Finding(
            "BN033",
            "warning",
            f"{worst}: means of consecutive mini-batches vary {ratios[worst]:.1f} times as much as "
            "those of shuffled ones: batches are not shuffled, and statistics are biased and "
            "unstable. Shuffle the training data.",
            worst,
            measured=ratios[worst],
            threshold=LIMIT,
        )


def _ratio(seen: Seen, block: int) -> float:
    """The variance of mini-batch means over what independent rows would give, over channels."""
    expected = float(np.sum(seen.between_rows)) / block
    got = float(np.sum(np.var(np.stack(seen.blocks), axis=0, ddof=1)))
    return got / expected if expected > 0 else 0.0


RULE = Rule("BN033", "mini-batches are shuffled", check)
