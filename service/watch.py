"""Drift runs: a sample of the traffic goes through the probe network, beside the answers.

One thread a process, of the lowest priority, takes sampled inputs from a bounded queue and runs the
probe networks on them, within a share of CPU time. What does not fit is dropped and counted. The
way of an answer has only the look at a counter, and one append to a queue in so many requests.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from service.bundle import Bundle
from service.drift.baseline import Baseline
from service.drift.causes import Input, Pictures
from service.drift.inspection import describe_image
from service.drift.monitor import Monitor, Sample
from service.drift.reading import read_baseline, read_input, read_pictures
from service.errors import FoldserveError
from service.manifest import PROBE, ProbeOutputs
from service.runtime import OnnxRuntime
from service.tensors import Array

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 8  # of one run: short, so that others need not wait long for the processor
_BURST_S = 2.0  # of CPU time that may be spent at once after a pause, as after a load
_LOWEST_PRIORITY = 19
MOST_INSPECTIONS = 8  # at once, of one version in one worker

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How much is watched: 1 request in `sample`, and the `first_rows` after a load; at most
    `budget` of one processor's time; `steps` windows of `step_s` seconds; `level` is the
    probability of a false alarm; `queue_rows` and `queue_bytes` bound what waits. A `sample` of 0
    watches nothing.
    """

    sample: int = 16
    first_rows: int = 200
    budget: float = 0.02
    step_s: float = 300.0
    steps: int = 12
    level: float = 0.01
    queue_rows: int = 512
    queue_bytes: int = 2**26


@dataclass(eq=False)
class Watch:
    """One version under watch. `reference` and `pictures` are what the likely causes need."""

    bundle: Bundle
    monitor: Monitor
    reference: Input | None
    pictures: Pictures | None
    outputs: tuple[ProbeOutputs, ...]
    watcher: "Watcher"
    _seen: int = 0
    _rows: int = 0
    _probe: OnnxRuntime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    inspections: threading.Semaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MOST_INSPECTIONS)
    )

    @property
    def baseline(self) -> Baseline:
        """What the traffic is compared with."""
        return self.monitor.baseline

    @property
    def level(self) -> float:
        """The probability of an alarm where nothing has moved."""
        return self.watcher.limits.level

    def offer(self, inputs: Arrays) -> None:
        """Takes the inputs of one request into the sample, if it is their turn; never waits."""
        self._seen += 1
        limits = self.watcher.limits
        if self._seen % limits.sample and self._rows >= limits.first_rows:
            return
        self._rows += len(next(iter(inputs.values())))
        self.watcher.submit(self, inputs)

    def first_nonfinite(self, inputs: Arrays) -> str | None:
        """The first layer, in network order, that is not finite on these rows; None if all are.

        Runs the probe network at once, in the calling thread.
        """
        answers = self._run(inputs)
        for layer, names in zip(self.baseline.layers, self.outputs, strict=True):
            if not np.isfinite(answers[names.mean_square]).all():
                return layer.name
        return None

    def inspect(self, inputs: Arrays) -> dict[str, Any]:
        """What one row does to every layer; it is not counted as traffic.

        Runs the probe network at once, in the calling thread, which holds one of `inspections`.
        """
        sample = self._sample(inputs, self._run(inputs))
        return describe_image(sample.means[0], sample.squares[0], self.baseline)

    def take_in(self, inputs: Arrays, now: float) -> None:
        """Runs the probe network on sampled rows, and gives the monitor what it says."""
        self.monitor.add(self._sample(inputs, self._run(inputs)), now)

    def _sample(self, inputs: Arrays, answers: Arrays) -> Sample:
        scores = next(iter(answers.values()))
        classifies = self.baseline.classes is not None and scores.ndim == 2
        pixels = next(iter(inputs.values()))
        by_channel = pixels.reshape(len(pixels), self.monitor.input_channels, -1)
        wide = by_channel.astype(np.float64)
        return Sample(
            means=np.concatenate([answers[o.mean] for o in self.outputs], axis=1),
            squares=np.concatenate([answers[o.mean_square] for o in self.outputs], axis=1),
            predicted=scores.argmax(axis=1) if classifies else None,
            input_means=wide.mean(axis=2),
            input_squares=(wide**2).mean(axis=2),
        )

    def _run(self, inputs: Arrays) -> dict[str, Array]:
        with self._lock:
            if self._probe is None:
                self._probe = OnnxRuntime(self.bundle.read(PROBE), threads=1)
        with np.errstate(all="ignore"):
            return self._probe.run(inputs)


class Watcher:
    """The thread, its queue and its budget; shared by all models of a process."""

    def __init__(
        self, limits: WatchLimits, clock: Callable[[], float] = time.time, start: bool = True
    ) -> None:
        """`clock` gives seconds since the epoch, for the windows."""
        self.limits = limits
        self._clock = clock
        self._queue: deque[tuple[Watch, Arrays]] = deque()
        self._rows = self._bytes = 0
        self._more = threading.Condition()
        self._closed = False
        self._monitors: dict[tuple[str, int, str], Monitor] = {}
        self._thread = threading.Thread(target=self._work, name="drift", daemon=True)
        if start and limits.sample:
            self._thread.start()

    def watch(self, bundle: Bundle) -> Watch | None:
        """A version to watch; None where nothing is watched, or the bundle has no baseline.

        What was seen of the same network before, as ahead of a reload, is kept.
        """
        baseline = read_baseline(bundle)
        if baseline is None or not self.limits.sample:
            return None
        shape = bundle.manifest.inputs[0].shape
        channels = shape[1] if len(shape) > 1 and shape[1] > 0 else 1
        manifest = bundle.manifest
        key = (manifest.name, manifest.version, manifest.files[PROBE].sha256)
        monitor = self._monitors.setdefault(
            key, Monitor(baseline, channels, self.limits.step_s, self.limits.steps)
        )
        watched = {layer.name for layer in baseline.layers}
        outputs = tuple(
            layer.probe for layer in bundle.layers if layer.name in watched and layer.probe
        )
        return Watch(
            bundle, monitor, read_input(bundle), read_pictures(bundle), outputs, watcher=self
        )

    def submit(self, watch: Watch, inputs: Arrays) -> None:
        """Puts rows into the queue, or counts them as dropped where it is full."""
        rows = len(next(iter(inputs.values())))
        size = sum(array.nbytes for array in inputs.values())
        with self._more:
            full = bool(self._queue) and (
                self._rows + rows > self.limits.queue_rows
                or self._bytes + size > self.limits.queue_bytes
            )
            if not full:
                self._queue.append((watch, inputs))
                self._rows += rows
                self._bytes += size
                self._more.notify()
        if full:
            watch.monitor.drop(rows)

    def close(self) -> None:
        """Ends the thread after the run in progress; what waits is forgotten."""
        with self._more:
            self._closed = True
            self._more.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        _lowest_priority()
        credit, before = _BURST_S, time.monotonic()
        while (item := self._next()) is not None:
            watch, inputs = item
            for chunk in _chunks(inputs):
                now = time.monotonic()
                credit = min(_BURST_S, credit + (now - before) * self.limits.budget)
                before = now
                if credit < 0 and self._wait(-credit / self.limits.budget):
                    return
                began = time.thread_time()
                self._take_in(watch, chunk)
                credit -= time.thread_time() - began

    def _take_in(self, watch: Watch, inputs: Arrays) -> None:
        try:
            watch.take_in(inputs, self._clock())
        except FoldserveError as error:
            watch.monitor.drop(len(next(iter(inputs.values()))))
            logger.warning("drift: a sample was dropped: %s", error)
        except Exception:  # the watch must not end for all models because of one
            watch.monitor.drop(len(next(iter(inputs.values()))))
            logger.exception("drift: a sample was dropped")

    def _next(self) -> tuple[Watch, Arrays] | None:
        with self._more:
            while not self._queue and not self._closed:
                self._more.wait()
            if self._closed:
                return None
            watch, inputs = self._queue.popleft()
            self._rows -= len(next(iter(inputs.values())))
            self._bytes -= sum(array.nbytes for array in inputs.values())
            return watch, inputs

    def _wait(self, seconds: float) -> bool:
        """Waits until the budget allows more; whether the thread is to end."""
        end = time.monotonic() + seconds
        with self._more:
            while not self._closed and (left := end - time.monotonic()) > 0:
                self._more.wait(left)
            return self._closed


def _chunks(inputs: Arrays) -> list[dict[str, Array]]:
    rows = len(next(iter(inputs.values())))
    return [
        {name: array[start : start + _CHUNK_ROWS] for name, array in inputs.items()}
        for start in range(0, rows, _CHUNK_ROWS)
    ]


def _lowest_priority() -> None:
    """The kernel lets every other thread of the service go first (Linux, where threads have each
    a priority)."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    except OSError:
        logger.info("drift: the thread keeps its ordinary priority")
