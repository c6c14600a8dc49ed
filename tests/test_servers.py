"""No server outlives its test: neither a failed one, nor an interrupted one, nor a killed one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import DEADLINE_S, poll

ROOT = Path(__file__).resolve().parents[1]
TEST = """
from pathlib import Path
import os, signal, time
from tests.servers import no_process_outlives_its_test, no_process_outlives_the_tests, start

def test_that_starts_a_server(tmp_path):
    server = start("--models", str(tmp_path), "--workers", "2", FOLDSERVE_MARK={mark!r})
    {how}
"""
HOW = {
    "fails": "assert False",
    "is interrupted": "raise KeyboardInterrupt",
    "ends otherwise": "raise SystemExit",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "is terminated": "os.kill(os.getpid(), signal.SIGTERM)",
}


def processes(mark: str) -> list[int]:
    """The processes whose environment holds `mark`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return found


@pytest.mark.parametrize("how", HOW)
def test_a_server_ends_with_its_test(tmp_path: Path, how: str) -> None:
    mark = f"{tmp_path}-{os.getpid()}"
    program = tmp_path / "test_one.py"
    program.write_text(TEST.format(mark=mark, how=HOW[how]))
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--import-mode=importlib", "--basetemp", str(tmp_path / "base"), str(program)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
    )
    expected = {"is killed": -signal.SIGKILL, "is terminated": -signal.SIGTERM}
    assert done.returncode == expected.get(how, done.returncode), done.stdout
    assert done.returncode != 0
    assert "foldserve: " not in done.stderr
    # Workers of a supervisor that the kernel killed notice it, and stop as if told to.
    poll(lambda: not processes(mark), "the server to end")
