"""Servers as processes: started, awake while they are measured, asleep otherwise, ended whole."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
_WAKING_S, _ENDING_S = 0.2, 10
_LAST_LINES, _LAST_CHARACTERS = 4, 400


class Server:
    """A command that listens, with all the processes that it starts, in whatever sessions: they
    inherit a mark in their environment, or descend from one that did."""

    def __init__(self, command: tuple[str, ...], folder: Path, sleeps: bool = True) -> None:
        self._command, self._folder, self.sleeps = command, folder, sleeps
        self._idle_since = self._idle_s = self._idle_cpu_s = self._cpu_s = 0.0
        self.starts = 0

    def start(self) -> None:
        """Starts it, for the first time or anew, in a new folder."""
        self.starts += 1
        self._idle_since = 0.0
        place = self._folder / str(self.starts)
        place.mkdir(parents=True)
        self.log = place / "log.txt"
        self._mark = f"SERVING_BENCHMARK={uuid4()}".encode()
        name, _, mark = self._mark.decode().partition("=")
        # one thread for every library that is not told otherwise: the processors are shared
        environment = {**os.environ, name: mark, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        if "-m" in self._command:
            environment["PYTHONPATH"] = str(ROOT)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> str:
        """How it ended; empty while it runs."""
        status = self._process.poll()
        if status is None:
            return ""
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Servers sleep while others are measured: some are busy even when nobody asks."""
        if self.sleeps:
            self._signal(signal.SIGCONT)
        elif self._idle_since:
            self._idle_s += time.monotonic() - self._idle_since
            self._idle_cpu_s += self._processor_s() - self._cpu_s
        time.sleep(_WAKING_S)
        try:
            yield
        finally:
            self.sleep()

    def sleep(self) -> None:
        """Stops its processes; or notes what they have used, if they would not survive it."""
        if self.sleeps:
            self._signal(signal.SIGSTOP)
        else:
            self._idle_since, self._cpu_s = time.monotonic(), self._processor_s()

    @property
    def idle_share(self) -> float:
        """What it took of one processor while others were measured."""
        return self._idle_cpu_s / self._idle_s if self._idle_s else 0.0

    def terminate(self) -> None:
        """Asks it to end."""
        if self.starts:
            self._signal(signal.SIGCONT)
            self._process.terminate()

    def end(self) -> None:
        """Ends it, and what it has left behind."""
        if not self.starts:
            return
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of what it wrote."""
        lines = self.log.read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()][-_LAST_LINES:]
        return " / ".join(said)[-_LAST_CHARACTERS:].replace("|", "¦")

    def memory_mib(self) -> float:
        """Proportional set size of all its processes."""
        total = 0
        for process in self._processes():
            with suppress(OSError):
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
                total += int(text.split("\nPss:")[1].split()[0])
        return total / 1024

    def _processor_s(self) -> float:
        ticks = 0
        for process in self._processes():
            with suppress(OSError):
                stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks += int(stat[11]) + int(stat[12])  # in user mode, in the kernel
        return ticks / os.sysconf("SC_CLK_TCK")

    def _signal(self, number: int) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _processes(self) -> set[int]:
        marked, parents = set[int](), dict[int, int]()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                process = int(entry.name)
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[process] = int(fields[1])
                if self._mark in (entry / "environ").read_bytes():
                    marked.add(process)
        found, more = set[int](), marked
        while more:
            found |= more
            more = {child for child, parent in parents.items() if parent in more} - found
        return found
