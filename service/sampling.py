"""What the watch takes its work from: a bounded queue of rows, and a budget of processor time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np

from service.tensors import Array

Owner = TypeVar("Owner")
Arrays = Mapping[str, Array]

_LONGEST_WAIT_S = 60.0
# Of processor time that may be spent at once after a pause: some hundred rows of a small network.
_BURST_S = 0.25
_GATHER_S = 0.05


class Budget:
    """A share of one processor's time, with a burst; charged with what was spent."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._clock = share, clock
        self._credit, self._before = _BURST_S, clock()
        self._lock = threading.Lock()

    def wait_s(self) -> float:
        """How long until something may be spent, or until to ask again; 0 for now."""
        with self._lock:
            now = self._clock()
            self._credit = min(_BURST_S, self._credit + (now - self._before) * self._share)
            self._before = now
            return min(_LONGEST_WAIT_S, max(0.0, -self._credit / self._share))

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Charges the processor time of this thread until the end of the block."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.charge(time.thread_time() - began)

    def charge(self, seconds: float) -> None:
        """Processor time that was spent."""
        with self._lock:
            self._credit -= seconds


class SampleQueue(Generic[Owner]):
    """Inputs that wait, each with whose they are; bounded in rows and bytes."""

    def __init__(self, rows: int, size: int) -> None:
        """At most `rows` and `size` bytes, or one entry that is larger."""
        self._limits = (rows, size)
        self._held: deque[tuple[Owner, Arrays]] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = threading.Event()  # apart: a notice of rows must not wake who pauses

    def __len__(self) -> int:
        return len(self._held)

    def put(self, owner: Owner, inputs: Arrays) -> bool:
        """Whether there was room; never waits."""
        rows, size = row_count(inputs), _bytes_of(inputs)
        with self._changed:
            most_rows, most_bytes = self._limits
            if self._held and (self._rows + rows > most_rows or self._bytes + size > most_bytes):
                return False
            self._held.append((owner, inputs))
            self._rows += rows
            self._bytes += size
            if len(self._held) == 1:  # who takes waits for the first, not for more
                self._changed.notify()
        return True

    def take(self, rows: int) -> tuple[Owner, Arrays] | None:
        """The oldest entry, waiting for one, with those behind it that are of the same owner and
        shape, up to so many rows; None once the queue is closed.

        What comes one by one is gathered for a moment first: each time that this thread wakes, it
        takes the interpreter from those that answer.
        """
        with self._changed:
            while not self._held and not self._closed.is_set():
                self._changed.wait()
            few = self._rows < rows
        if self._closed.wait(_GATHER_S) if few else self._closed.is_set():
            return None
        with self._changed:
            owner, first = self._pop()
            taken, count = [first], row_count(first)
            while self._held and self._held[0][0] == owner:
                following = self._held[0][1]
                count += row_count(following)
                if count > rows or _kind(following) != _kind(first):
                    break
                taken.append(self._pop()[1])
        if len(taken) == 1:
            return owner, first
        return owner, {name: np.concatenate([one[name] for one in taken]) for name in first}

    def _pop(self) -> tuple[Owner, Arrays]:
        owner, inputs = self._held.popleft()
        self._rows -= row_count(inputs)
        self._bytes -= _bytes_of(inputs)
        return owner, inputs

    def pause(self, seconds: float) -> bool:
        """Waits so long; whether the queue was closed."""
        return self._closed.wait(seconds)

    def close(self) -> None:
        """Wakes whoever waits; what is left is forgotten."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()


def row_count(inputs: Arrays) -> int:
    """Rows of a request's inputs."""
    return len(next(iter(inputs.values())))


def _bytes_of(inputs: Arrays) -> int:
    return sum(array.nbytes for array in inputs.values())


def _kind(inputs: Arrays) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, array.shape[1:]) for name, array in inputs.items()]
