"""The serving benchmarks run: every server is measured, and what they look for is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *options: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs Debian's package wrk")
def test_servers_and_limits_are_in_the_table_without_errors() -> None:
    options = ("--networks", "mlp", "--rounds", "1", "--seconds", "1", "--port", "8741")
    printed = run("serving.py", *options, "--peers", "nothing")
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if "| mlp " in line]
    servers = [(row[2], row[3]) for row in rows]
    ours = [("foldserve", "JSON"), ("foldserve", "binary")]
    assert servers == [*ours, ("nothing", "JSON"), ("bare ONNX Runtime", "–")]
    assert all(float(row[4]) > 0 for row in rows)
    assert all(row[-1] == "0" for row in rows[:2])


def test_reloads_are_compared() -> None:
    assert "20 reloads in " in run("reloads.py", "--times", "20")
