"""The drift benchmarks run, and their figures are what they say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(script: str, *options: str) -> str:
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rows(printed: str, first: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_few_pictures_show_what_many_do() -> None:
    """Without another interpreter there are no columns of other detectors."""
    printed = _run("drift.py", "--quick", "--networks", "mnist-cnn")
    rows = _rows(printed, "mnist-cnn")
    clean = [row for row in rows if row[1] in ("5", "10", "30")]
    assert len(clean) == 3
    assert all(row[2].startswith("0.0%") or float(row[2].split("%")[0]) <= 10 for row in clean)
    strong = {"noise 0.38", "brightness 0.5", "contrast 0.05", "blur 2"}
    found = {row[1]: row for row in rows if row[1] in strong}
    assert found.keys() == strong
    for row in found.values():
        assert float(row[2]) > 2  # points of accuracy
        assert row[3].startswith("100.0%")
    causes = {row[1]: row[3] for row in rows if len(row) == 4 and "drift" in row[2]}
    assert causes["none"].startswith("none")
    assert "inverted" in causes["inverted"]
    (costs,) = (row for row in rows if len(row) == 3 and row is rows[-1])
    assert all(0 < float(cell) < 1000 for cell in costs[1:])


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_servers_with_and_without_the_watch_are_measured() -> None:
    printed = _run("drift_cost.py", "--networks", "tiny", "--rounds", "1", "--seconds", "1")
    rows = _rows(printed, "tiny")
    assert [row[1] for row in rows] == ["1", "64"]
    for row in rows:
        assert min(float(row[2]), float(row[3])) > 0
        assert row[-1] == "0"  # errors
