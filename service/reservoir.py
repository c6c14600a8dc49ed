"""A random sample of rows that can be merged with others, and its file.

Every row gets a random key, and the rows with the smallest keys are kept: a sample without
replacement of all rows so far, in which each is as likely as any other. The smallest keys of
several samples are a sample of all their rows (bottom-k sampling, Cohen & Kaplan 2007): unlike the
reservoir of Vitter 1985, it can be merged.
"""

import heapq
import io
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.tensors import Array

logger = logging.getLogger(__name__)

KEYS, SEEN = "recording.keys", "recording.seen"  # beside the inputs, which the network names
SEED = 20150211

Arrays = Mapping[str, Array]
Rows = dict[str, Array]


@dataclass(eq=False)
class Reservoir:
    """The rows with the smallest keys: `rows` of them at most. Not safe for several threads.

    Only rows of one shape are taken, those of the first. `seen` is how many were offered; with
    `stream`, the number of the worker, it decides the keys that come next.
    """

    rows: int
    stream: int = 0
    seen: int = 0
    _heap: list[tuple[float, int, Rows]] = field(default_factory=list)  # the largest key first
    _shapes: dict[str, tuple[int, ...]] | None = None
    _count: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng((SEED, self.stream, self.seen))

    def add(self, inputs: Arrays) -> bool:
        """Takes some of the rows in, copied; whether any were."""
        shapes = {name: array.shape[1:] for name, array in inputs.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return False
        count = min(len(array) for array in inputs.values())
        keys = self._random.random(count)
        self.seen += count
        chosen = np.flatnonzero(keys < self._largest())
        for index in chosen:
            self.put(float(keys[index]), {k: a[index].copy() for k, a in inputs.items()})
        return bool(chosen.size)

    def put(self, key: float, row: Rows) -> None:
        """Takes a row in under its key, where that is among the smallest."""
        shapes = {name: array.shape for name, array in row.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return
        self._count += 1
        item = (-key, self._count, row)
        if len(self._heap) < self.rows:
            heapq.heappush(self._heap, item)
        elif key < self._largest():
            heapq.heapreplace(self._heap, item)

    def _largest(self) -> float:
        """The key that a row must be below."""
        return -self._heap[0][0] if len(self._heap) >= self.rows else np.inf

    def items(self) -> list[tuple[float, Rows]]:
        """Keys and rows, the smallest key first."""
        return [(-key, row) for key, _, row in sorted(self._heap, key=lambda item: -item[0])]

    def arrays(self) -> Rows:
        """The rows by input name, their keys and how many were seen; empty where there are none."""
        held = self.items()
        if not held:
            return {}
        found = {name: np.stack([row[name] for _, row in held]) for name in held[0][1]}
        return found | {KEYS: np.array([key for key, _ in held]), SEEN: np.array(self.seen)}


def load_reservoir(path: Path, rows: int, stream: int) -> Reservoir:
    """The sample in a file of `write_whole(path, to_npz(….arrays()))`; an empty one where there is
    none, or none that can be read, which is logged."""
    arrays = _read(path)
    if arrays is None:
        return Reservoir(rows, stream)
    keys, seen = arrays.pop(KEYS), int(arrays.pop(SEEN))
    loaded = Reservoir(rows, stream, seen)
    for index, key in enumerate(keys):
        loaded.put(float(key), {name: array[index] for name, array in arrays.items()})
    return loaded


def merge(paths: Iterable[Path], rows: int) -> Rows:
    """The sample of the samples in files, by input name; empty where there are no rows."""
    merged = Reservoir(rows)
    for path in paths:
        for key, row in load_reservoir(path, rows, 0).items():
            merged.put(key, row)
    found = merged.arrays()
    return {name: array for name, array in found.items() if name not in (KEYS, SEEN)}


def _read(path: Path) -> Rows | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        logger.error("recording: %s: expected an archive of rows, got %s", path, error)
        return None
    if not {KEYS, SEEN} < arrays.keys():
        logger.error("recording: %s: expected %s and %s, got %s", path, KEYS, SEEN, list(arrays))
        return None
    return arrays


def to_npz(arrays: Arrays) -> bytes:
    """NumPy's own archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """Writes beside the place and renames, readable by the owner only; OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
