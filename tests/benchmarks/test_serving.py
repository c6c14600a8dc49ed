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


@pytest.mark.skipif(
    shutil.which("wrk") is None or shutil.which("h2load") is None,
    reason="needs Debian's packages wrk and nghttp2-client",
)
def test_servers_and_limits_are_in_the_tables_without_errors() -> None:
    options = ("--networks", "tiny", "--rounds", "1", "--seconds", "1", "--port", "8741")
    printed = run("serving.py", *options, "--peers", "FastAPI,mosec,uvicorn")
    best, twice, rates, befell, every = (
        [line.strip("| ").split(" | ") for line in table.splitlines() if "| tiny " in line]
        for table in printed.split("\n\n")[1:]
    )
    columns = [(clients, form) for clients in ("1", "32", "64") for form in ("JSON", "binary")]
    assert [(row[1], row[2]) for row in best] == columns
    assert [row[4] for row in best] == ["FastAPI, tutorial", "–"] * 3
    assert [(row[1], row[2]) for row in twice] == columns[2:]
    assert [row[2] for row in rates] == ["JSON", "binary"]
    assert {row[1] for row in befell} == {"mosec"}  # is not installed here
    assert all("No module named" in row[3] for row in befell)
    servers = {(row[2], row[4]) for row in every}
    both = {
        (name, form)
        for name in ("foldserve", "foldserve, 2 workers", "uvicorn")
        for form in ("JSON", "binary")
    }
    assert servers == both | {("FastAPI", "JSON"), ("ONNX Runtime alone", "–")}
    assert all(float(row[5]) > 0 and row[-1] == "0" for row in every)
    assert all(row[-1] == "0" for row in rates)


def test_reloads_are_compared() -> None:
    assert "20 reloads in " in run("reloads.py", "--times", "20")
