"""Drift runs: a sample of the traffic goes through the probe network, beside the answers.

One thread of a process takes sampled inputs from a bounded queue and runs the probe networks on
them, within a share of CPU time. What does not fit is dropped and counted. The way of an answer
has only the look at a counter, and one append to a queue in so many requests.

The thread has the priority of all others. With the lowest, the kernel takes its processor away
while it holds the interpreter's lock, and every answer waits for it: 99 % of the answers of a small
network under load within 260 ms, not 25.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from service.bundle import Bundle
from service.drift.baseline import Baseline
from service.drift.causes import Input, Pictures
from service.drift.inspection import describe_image
from service.drift.monitor import Monitor, Sample
from service.drift.reading import read_baseline, read_input, read_pictures
from service.drift.state import Key, StateFolder
from service.errors import FoldserveError
from service.manifest import PROBE, ProbeOutputs
from service.runtime import OnnxRuntime
from service.sampling import Arrays, Budget, SampleQueue, row_count
from service.tensors import Array

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 8  # of one run: short, so that others need not wait long for the processor
_PAUSES, _PAUSE_S = 5, 0.05  # while requests wait
_SAVE_S = 30.0  # between two saves of what was seen
MOST_INSPECTIONS = 8  # at once, of one version in one worker


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
    """One version under watch. `reference` and `pictures` are what the likely causes need; `busy`
    tells whether requests wait for a processor."""

    bundle: Bundle
    monitor: Monitor
    reference: Input | None
    pictures: Pictures | None
    outputs: tuple[ProbeOutputs, ...]
    watcher: "Watcher"
    busy: Callable[[], bool]
    window: object = field(default_factory=object)  # another one after each reset
    _seen: int = 0
    _rows: int = 0
    _probe: OnnxRuntime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _searching: threading.Lock = field(default_factory=threading.Lock)
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
        self._rows += row_count(inputs)
        self.watcher.submit(self, inputs)

    def reset(self) -> None:
        """Begins a new window; what was sampled before and still waits is forgotten, too."""
        self.window = object()
        self.monitor.reset()

    def first_nonfinite(self, inputs: Arrays) -> str | None:
        """The first layer, in network order, that is not finite on these rows; None if all are.

        Runs the probe network at once, in the calling thread.
        """
        answers = self._run(inputs)
        for layer, names in zip(self.baseline.layers, self.outputs, strict=True):
            if not np.isfinite(answers[names.mean_square]).all():
                return layer.name
        return None

    def search_nonfinite(self, inputs: Arrays) -> str | None:
        """The same, on a few rows, within the budget of such searches and one at a time; None also
        where there is no time for it. Takes any thread."""
        if self.watcher.searches.wait_s() or not self._searching.acquire(blocking=False):
            return None
        try:
            with self.watcher.searches.spending():
                return self.first_nonfinite(_chunks(inputs)[0])
        except FoldserveError as error:
            logger.warning("drift: the layer of a NaN could not be found: %s", error)
            return None
        finally:
            self._searching.release()

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
        self,
        limits: WatchLimits,
        clock: Callable[[], float] = time.time,
        start: bool = True,
        state: StateFolder | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch, for the windows; what was seen is kept in `state`,
        where that is given."""
        self.limits = limits
        self.searches = Budget(limits.budget)  # for the layer in which a NaN began
        self._clock = clock
        self._queue = SampleQueue[tuple[Watch, object]](limits.queue_rows, limits.queue_bytes)
        self._budget = Budget(limits.budget)
        self._monitors: dict[Key, Monitor] = {}
        self._state, self._saved = state, dict[Key, int]()
        self._state_fails = False
        work = [self._work] if state is None else [self._work, self._keep_state]
        self._threads = [threading.Thread(target=one, name="drift", daemon=True) for one in work]
        if start and limits.sample:
            for thread in self._threads:
                thread.start()

    def watch(self, bundle: Bundle, busy: Callable[[], bool] = lambda: False) -> Watch | None:
        """A version to watch; None where nothing is watched, or the bundle has no baseline.

        What was seen of the same network before, as ahead of a reload or a restart, is kept.
        """
        baseline = read_baseline(bundle)
        if baseline is None or not self.limits.sample:
            return None
        shape = bundle.manifest.inputs[0].shape
        channels = shape[1] if len(shape) > 1 and shape[1] > 0 else 1
        manifest = bundle.manifest
        key = Key(manifest.name, manifest.version, manifest.files[PROBE].sha256)
        if (monitor := self._monitors.get(key)) is None:
            monitor = Monitor(baseline, channels, self.limits.step_s, self.limits.steps)
            if self._state is not None:
                self._state.restore(key, monitor)
            self._monitors[key] = monitor
        watched = {layer.name for layer in baseline.layers}
        outputs = tuple(
            layer.probe for layer in bundle.layers if layer.name in watched and layer.probe
        )
        return Watch(
            bundle, monitor, read_input(bundle), read_pictures(bundle), outputs, self, busy
        )

    def submit(self, watch: Watch, inputs: Arrays) -> None:
        """Puts rows into the queue, or counts them as dropped where it is full."""
        if not self._queue.put((watch, watch.window), inputs):
            watch.monitor.drop(row_count(inputs))

    def close(self) -> None:
        """Ends the threads after the run in progress; what waits is forgotten."""
        self._queue.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._save()

    def _work(self) -> None:
        """All that this thread does is charged, also what it takes to wake and to wait."""
        charged = time.thread_time()
        while (item := self._queue.take(_CHUNK_ROWS)) is not None:
            (watch, window), inputs = item
            for chunk in _chunks(inputs):
                if watch.window is not window:
                    break
                while wait_s := self._budget.wait_s():
                    if self._queue.pause(wait_s):
                        return
                if self._yields_to_answers(watch):
                    return
                self._take_in(watch, chunk)
                now = time.thread_time()
                self._budget.charge(now - charged)
                charged = now

    def _yields_to_answers(self, watch: Watch) -> bool:
        """Waits while requests do, for a while: a service that is always busy is watched too.
        Whether the thread is to end."""
        for _ in range(_PAUSES):
            if not watch.busy():
                break
            if self._queue.pause(_PAUSE_S):
                return True
        return False

    def _keep_state(self) -> None:
        while not self._queue.pause(_SAVE_S):
            self._save()

    def _save(self) -> None:
        """Saves what has changed. A folder that cannot be written is logged once, until it can."""
        for key, monitor in list(self._monitors.items()) if self._state else ():
            revision = monitor.revision
            if self._state is None or self._saved.get(key, 0) == revision:
                continue
            try:
                self._state.save(key, monitor)
            except OSError as error:
                if not self._state_fails:
                    logger.error("drift: what was seen cannot be saved: %s", error)
                self._state_fails = True
            else:
                self._saved[key], self._state_fails = revision, False

    def _take_in(self, watch: Watch, inputs: Arrays) -> None:
        try:
            watch.take_in(inputs, self._clock())
        except FoldserveError as error:
            watch.monitor.drop(row_count(inputs))
            logger.warning("drift: a sample was dropped: %s", error)
        except Exception:  # the watch must not end for all models because of one
            watch.monitor.drop(row_count(inputs))
            logger.exception("drift: a sample was dropped")


def _chunks(inputs: Arrays) -> list[dict[str, Array]]:
    return [
        {name: array[start : start + _CHUNK_ROWS] for name, array in inputs.items()}
        for start in range(0, row_count(inputs), _CHUNK_ROWS)
    ]
