"""The folding benchmark: it judges rightly, and lives through tools that are missing or crash."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


def _benchmark(*options: str) -> str:
    command = [sys.executable, str(FOLDER / "folding.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _cells(table: str, row: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_what_each_tool_left_and_marks_what_is_not_installed() -> None:
    printed = _benchmark("--only", "RepGhost", "--no-latency")
    layers, errors, *_ = printed.split("### ")[1:]
    header, row = _cells(layers, "graph"), _cells(layers, "RepGhost")
    named = dict(zip(header, row, strict=True))
    assert (named["unfolded"], named["foldserve"]) == ("2 / 5", "0 / 2")
    assert named["ORT basic"] == "1 / 4"
    installed = {"onnxsim", "onnxslim", "onnxoptimizer"} - _missing()
    assert all((named[name] != "not installed") == (name in installed) for name in _missing())
    assert float(_cells(errors, "RepGhost")[2]) < 1e-5
    assert "is behind a right answer\n\nNone." in printed


def _missing() -> set[str]:
    from importlib.util import find_spec

    return {name for name in ("onnxsim", "onnxslim", "onnxoptimizer") if find_spec(name) is None}


def test_a_crash_is_a_mark_and_the_next_file_is_taken(tmp_path: Path) -> None:
    """A stand-in for the interpreter that dies at the first file and does the second."""
    fake = tmp_path / "python"
    lines = ['{"begins": 0}', '{"begins": 1}']
    fake.write_text(
        f"#!/bin/sh\n[ $5 = 0 ] && echo '{lines[0]}' && kill -9 $$\necho '{lines[1]}'\n"
    )
    fake.chmod(0o755)
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n"
        "from pathlib import Path; from folding import run_tool\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"print(run_tool('onnxsim', {str(fake)!r}, folder, folder / 'out', 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "{0: 'crash'}", done.stderr
