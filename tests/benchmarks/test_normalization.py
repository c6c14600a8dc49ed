"""The benchmark of the normalization layers runs, and its columns are what they say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_both_layers_are_timed_in_turn() -> None:
    code = (
        "import normalization as b; "
        "print(b.compare((4, 3, 6, 6), 'NHWC', 3, alone=False)); "
        "print(b.compare((4, 3, 6, 6), 'NCHW', 3, alone=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "benchmarks",
    )
    for line in done.stdout.splitlines():
        own, native, ratio = map(float, line.split("|"))
        assert min(own, native, ratio) > 0
