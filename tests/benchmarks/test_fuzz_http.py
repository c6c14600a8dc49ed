"""A short run of the fuzzer: every kind of request, and no fault."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_three_thousand_bad_requests_harm_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/fuzz_http.py", "--requests", "3000", "--seed", "7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (\d+) \|", done.stdout, re.MULTILINE))
    assert len(rows) == 9
    assert sum(map(int, rows.values())) == 3000
    assert "0 faults" in done.stdout
