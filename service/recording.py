"""A sample of the inputs that were answered, kept in a folder: what re-calibration needs.

Off unless a folder is set: inputs are data of the users. Each worker has a file for each version,
which outlives it. The way of an answer has only one append to a queue; a thread does
the rest.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from service.manifest import MODEL, Manifest
from service.reservoir import Arrays, Reservoir, load_reservoir, merge, to_npz, write_whole

logger = logging.getLogger(__name__)

_WRITE_S = 10.0  # between two writings of a file that has changed
_QUEUE_BYTES = 2**26
_FLUSH_S = 1.0  # longest wait for what is in the queue


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """Where inputs are kept, `None` for nowhere; of each version at most `rows`, and at most `size`
    bytes, by each worker."""

    folder: Path | None = None
    rows: int = 1000
    size: int = 2**28


class Recording:
    """One version's sample in one worker, and its file."""

    def __init__(self, folder: Path, worker: int, rows: int, recorder: "Recorder") -> None:
        self._folder, self._rows, self._worker = folder, rows, worker
        self._recorder = recorder
        self._path = folder / f"{worker}.npz"
        self._reservoir = load_reservoir(self._path, rows, worker)
        self._changed, self._written = False, time.monotonic()
        self._lock = threading.Lock()

    def offer(self, inputs: Arrays) -> None:
        """Hands rows to the thread; never waits, and drops what does not fit."""
        self._recorder.submit(self, inputs)

    def take_in(self, inputs: Arrays) -> None:
        """Adds rows to the sample, and writes the file when it is time."""
        with self._lock:
            self._changed = self._reservoir.add(inputs) or self._changed
        if self._changed and time.monotonic() - self._written >= _WRITE_S:
            self.write()

    def write(self) -> None:
        """Writes what is new to the file, whole or not at all; only the owner may read it."""
        with self._lock:
            if not self._changed:
                return
            self._changed, self._written = False, time.monotonic()
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(self._path, to_npz(self._reservoir.arrays()))
            except OSError as error:
                logger.error("recording: %s: %s", self._path, error.strerror)

    def forget(self) -> None:
        """Begins a new sample, and removes the files: also those of workers that are gone."""
        with self._lock:
            self._reservoir, self._changed = Reservoir(self._rows, self._worker), False
            for path in self._folder.glob("*.npz"):
                path.unlink(missing_ok=True)

    def read(self) -> bytes | None:
        """The sample of all workers, as an archive of arrays by input name; None where there are no
        rows. It is of what the workers have written."""
        arrays = merge(sorted(self._folder.glob("*.npz")), self._rows)
        return to_npz(arrays) if arrays else None


class Recorder:
    """The thread and its queue; shared by all models of a process."""

    def __init__(self, limits: RecordLimits, worker: int = 0) -> None:
        self._limits, self._worker = limits, worker
        self._queue: deque[tuple[Recording, Arrays]] = deque()
        self._bytes, self._closed = 0, False
        self._more = threading.Condition()
        self._recordings: dict[tuple[str, int, str], Recording] = {}
        self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
        if limits.folder is not None:
            self._thread.start()

    def record(self, manifest: Manifest) -> Recording | None:
        """A version to record, with what was recorded of it before; None where nothing is kept, or
        its inputs are texts."""
        if self._limits.folder is None or any(i.datatype == "BYTES" for i in manifest.inputs):
            return None
        key = manifest.name, manifest.version, manifest.files[MODEL].sha256
        if key not in self._recordings:
            size = sum(spec.zeros(1).nbytes for spec in manifest.inputs)
            rows = max(1, min(self._limits.rows, self._limits.size // max(1, size)))
            folder = self._limits.folder / manifest.name / str(manifest.version)
            self._recordings[key] = Recording(folder, self._worker, rows, self)
        return self._recordings[key]

    def submit(self, recording: Recording, inputs: Arrays) -> None:
        """Puts rows into the queue, or leaves them out where it is full: a sample needs not all."""
        size = sum(array.nbytes for array in inputs.values())
        with self._more:
            if self._queue and self._bytes + size > _QUEUE_BYTES:
                return
            self._queue.append((recording, inputs))
            self._bytes += size
            self._more.notify()

    def flush(self) -> None:
        """Writes all samples, with what was submitted so far if that is soon taken in."""
        end = time.monotonic() + _FLUSH_S
        while self._bytes and time.monotonic() < end:
            time.sleep(0.01)
        for recording in list(self._recordings.values()):
            recording.write()

    def close(self) -> None:
        """Ends the thread and writes all files."""
        with self._more:
            self._closed = True
            self._more.notify()
        if self._thread.is_alive():
            self._thread.join()
        for recording in list(self._recordings.values()):
            recording.write()

    def _work(self) -> None:
        while (item := self._next()) is not None:
            recording, inputs = item
            try:
                recording.take_in(inputs)
            except Exception:  # the thread must not end for all models because of one
                logger.exception("recording: rows were left out")
            with self._more:
                self._bytes -= sum(array.nbytes for array in inputs.values())

    def _next(self) -> tuple[Recording, Arrays] | None:
        with self._more:
            while not self._queue and not self._closed:
                self._more.wait()
            return self._queue.popleft() if self._queue else None
