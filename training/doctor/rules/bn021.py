"""BN021: a folded network that does not answer as the unfolded one.

Both are run in ONNX Runtime on 256 rows (the data, or drawn ones). 1e-6 is rounding; thresholds
for float32: a difference of 1e-4 of the largest answer, or any top-1 label that flips although the
unfolded network's margin is above 1e-3. A bundle has both networks; an ONNX file is compared with
`--against`.
"""

from collections.abc import Iterator

import numpy as np

from training.doctor.finding import Finding, NotChecked
from training.doctor.network import Network
from training.doctor.patient import Patient
from training.doctor.rows import Rows, draw_rows
from training.doctor.rule import Rule
from training.doctor.runner import OnnxRunner, Runner
from training.graph import Array

PROBES, BATCH = 256, 32
LIMIT, MARGIN = 1e-4, 1e-3


def check(patient: Patient) -> Iterator[Finding]:
    """One error, with the largest relative difference and the labels that flip."""
    ours, theirs = _networks(patient)
    rows = patient.rows
    if rows is None or len(rows) < PROBES:
        rows = draw_rows(ours.inputs, PROBES)
    change, flips = _compare(ours, theirs, rows)
    if not change <= LIMIT or flips:
        yield Finding(
            "BN021",
            "error",
            f"the two networks' answers differ by {change:.3g} of the largest; {flips} labels "
            "flip (1e-6 is normal). Fold or convert again, and prove it with `foldserve fold`.",
            measured=change,
            threshold=LIMIT,
        )


def _networks(patient: Patient) -> tuple[Runner, Runner]:
    network = patient.require_network()
    if patient.served is not None:
        return network.runner, OnnxRunner(patient.served)
    other = patient.require_against("same")
    if other.network is None and other.served is None:
        raise NotChecked("an ONNX network or a bundle as --against")
    theirs = other.network or Network(other.served) if other.served else other.network
    assert theirs is not None
    return network.runner, theirs.runner


def _compare(ours: Runner, theirs: Runner, rows: Rows) -> tuple[float, int]:
    if {i.name for i in ours.inputs} != {i.name for i in theirs.inputs}:
        raise NotChecked("two networks with the same inputs")
    batch = BATCH if all(given.batched for given in ours.inputs) else None
    apart = largest = 0.0
    flips = 0
    for start in range(0, PROBES if batch else 1, batch or 1):
        feeds = rows.take(slice(start, start + batch)) if batch else dict(rows.inputs)
        left, right = ours.run(feeds), theirs.run(feeds)
        shared = [n for n in left if n in right and left[n].dtype.kind == "f"]
        if not shared or any(left[n].shape != right[n].shape for n in shared):
            raise NotChecked("two networks with the same outputs")
        apart = max(apart, *(_gap(left[n], right[n]) for n in shared))
        largest = max(largest, *(float(np.abs(left[n]).max(initial=0)) for n in shared))
        flips += _flips(left[shared[0]], right[shared[0]])
    return (apart / largest if largest else apart), flips


def _gap(left: Array, right: Array) -> float:
    gap = np.abs(left.astype(np.float64) - right.astype(np.float64))
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0))


def _flips(left: Array, right: Array) -> int:
    if left.ndim != 2 or left.shape[1] < 2:
        return 0
    best = np.sort(left.astype(np.float64), axis=1)[:, -2:]
    sure = best[:, 1] - best[:, 0] > MARGIN
    return int((sure & (left.argmax(axis=1) != right.argmax(axis=1))).sum())


RULE = Rule("BN021", "the folded network answers as the unfolded one", check)
