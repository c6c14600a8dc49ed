"""The watch over one version of a model: a ring of windows of its sampled traffic.

Knows neither the network nor HTTP: it is given what the probes say of each image, and the time. It
may be used from several threads.
"""

from collections import deque
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import Baseline
from service.drift.window import Window


@dataclass(frozen=True, slots=True)
class Sample:
    """What the probes say of n images: the means m and mean squares q of all layers' channels, one
    layer after another, [n, channels]; the predicted classes [n], where the network classifies; and
    mean and mean square of the input's channels, [n, C]."""

    means: NDArray[np.floating]
    squares: NDArray[np.floating]
    predicted: NDArray[np.int64] | None
    input_means: NDArray[np.floating]
    input_squares: NDArray[np.floating]


@dataclass(eq=False)
class Stretch:
    """One step of the ring: the layers and the input."""

    layers: Window
    input: Window

    def merge(self, other: "Stretch") -> None:
        """Takes another one in."""
        self.layers.merge(other.layers)
        self.input.merge(other.input)


@dataclass(eq=False)
class Monitor:
    """Keeps `steps` stretches of `step_s` seconds each, the newest last; older ones are forgotten.

    `first_nonfinite` is the first layer, in network order, that was ever not finite; `revision`
    grows with every change.
    """

    baseline: Baseline
    input_channels: int
    step_s: float
    steps: int
    dropped: int = 0
    first_nonfinite: str | None = None
    revision: int = 0
    _ring: deque[Stretch] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)
    _counting: Lock = field(default_factory=Lock)

    def add(self, sample: Sample, now: float) -> None:
        """Takes images in; `now` in seconds since the epoch."""
        finite = np.isfinite(sample.means).all(axis=1) & np.isfinite(sample.squares).all(axis=1)
        fresh = self._empty(now - now % self.step_s)
        fresh.layers.add(sample.means[finite], sample.squares[finite])
        fresh.layers.outliers = int(self.baseline.outliers(sample.means[finite]).sum())
        fresh.layers.nonfinite = int((~finite).sum())
        fresh.input.add(sample.input_means[finite], sample.input_squares[finite])
        if sample.predicted is not None and self.baseline.classes:
            fresh.layers.count_classes(sample.predicted[finite], len(self.baseline.classes))
        first = None if finite.all() else self._first_nonfinite(sample.means[~finite])
        with self._lock:  # for as short as can be: answers do not wait behind a slow thread
            self.revision += 1
            self.first_nonfinite = self.first_nonfinite or first
            self._forget(now)
            if not self._ring or self._ring[-1].layers.started < fresh.layers.started:
                self._ring.append(fresh)
            else:
                self._ring[-1].merge(fresh)

    def drop(self, rows: int) -> None:
        """Counts images that were sampled, and for which there was no time."""
        with self._counting:
            self.dropped += rows
            self.revision += 1

    def read(self, now: float, seconds: float | None = None) -> Stretch:
        """The stretches of the last `seconds`, whole ones, merged; None: all that are kept."""
        with self._lock:
            self._forget(now)
            since = -np.inf if seconds is None else now - seconds - self.step_s
            merged = self._empty(now)
            for stretch in self._ring:
                if stretch.layers.started > since:
                    merged.layers.started = min(merged.layers.started, stretch.layers.started)
                    merged.merge(stretch)
            return merged

    def stretches(self, now: float | None = None) -> list[Stretch]:
        """Copies of what is kept, the oldest first, for a history or a file; `now` forgets first
        what is older than the ring."""
        with self._lock:
            if now is not None:
                self._forget(now)
            copies = []
            for stretch in self._ring:
                copy = self._empty(stretch.layers.started)
                copy.merge(stretch)
                copies.append(copy)
            return copies

    def take_over(
        self, stretches: list[Stretch], dropped: int = 0, first_nonfinite: str | None = None
    ) -> None:
        """Adds what another monitor of the same baseline and steps has kept."""
        with self._lock:
            held = {stretch.layers.started: stretch for stretch in self._ring}
            for stretch in stretches:
                known = held.setdefault(stretch.layers.started, stretch)
                if known is not stretch:
                    known.merge(stretch)
            self._ring = deque(held[started] for started in sorted(held))
            self.dropped += dropped
            self.first_nonfinite = self.first_nonfinite or first_nonfinite

    def reset(self) -> None:
        """Forgets everything: the next image begins a new window."""
        with self._lock:
            self._ring.clear()
            self.revision += 1
            self.dropped, self.first_nonfinite = 0, None

    def _forget(self, now: float) -> None:
        oldest = now - now % self.step_s - (self.steps - 1) * self.step_s
        while self._ring and self._ring[0].layers.started < oldest:
            self._ring.popleft()

    def _empty(self, started: float) -> Stretch:
        channels = self.baseline.channels
        return Stretch(Window(channels, started), Window(self.input_channels, started))

    def _first_nonfinite(self, means: NDArray[np.floating]) -> str | None:
        bad = ~np.isfinite(means).all(axis=0)
        for name, place in self.baseline.places.items():
            if bad[place].any():
                return name
        return None
