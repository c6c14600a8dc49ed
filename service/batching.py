"""Dynamic batching: rows that wait are run together, and nothing waits for company by default.

While one batch runs, the next collects. Rows are counted, not requests: a request larger than the
largest batch is split and joined, requests of different shapes never share a batch, and callers
that left or whose time is over are dropped before the run. The bound on waiting rows is finite.

All state belongs to the event loop; other threads only run the network. A run that is shorter
than the way to another thread and back is run on the loop itself.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import time_ns
from typing import Protocol

from service.batch import Arrays, Batch, Outcome, Request, Run, Tell

from service.batch import fulfil, gather, join, run_apart, scatter  # isort: skip
from service.batch_sizes import BatchSizes
from service.errors import DeadlinePassed, InferenceFailed, QueueFull, Stopping
from service.statistics import Execution, Failure, Release
from service.tensors import Array
from service.waiting import Waiting

DEFAULT_PRIORITY = 2  # what 0 stands for: 1 goes before, 3 and more after
_S = 1_000_000_000
_SMOOTHING = 0.1  # of the rate from which Retry-After is computed
_FAILURES: dict[type[Exception], Failure] = {
    DeadlinePassed: Failure.DEADLINE,
    Stopping: Failure.STOPPING,
}


class Observer(Protocol):
    """Who is told what became of runs and requests."""

    def executed(self, execution: Execution, now_ms: int) -> None:
        """A run succeeded."""

    def answered(self, total_ns: int, queue_ns: int) -> None:
        """A request was answered."""

    def computed(self, execution: Execution, requests: int) -> None:
        """A run held the last rows of so many requests that were answered."""

    def failed(self, total_ns: int, failure: Failure) -> None:
        """A request was not answered."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of one model's queue."""

    max_batch_rows: int = 64
    batch_delay_s: float = 0.0
    max_queue_rows: int = 4096
    queue_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where runs happen: this many at once in `executor`, and those below `inline_s` inline."""

    executor: Executor
    count: int
    inline_s: float


class Batcher:
    """The queue of one version of a model, and what is run of it when."""

    def __init__(
        self,
        run: Run,
        sizes: BatchSizes,
        lanes: Lanes,
        limits: QueueLimits,
        observer: Observer,
        clock: Callable[[], int],
    ) -> None:
        """`run` raises InferenceFailed; `clock` gives nanoseconds that never go back."""
        self._run, self._lanes, self._limits = run, lanes, limits
        self._observer, self._clock = observer, clock
        self._plans, self._fits = sizes.plans(), sizes.fits()
        self._smallest, self._largest = sizes.sizes[0], sizes.largest
        self._inline = {s for s in sizes.sizes if sizes.seconds_of(s) < lanes.inline_s}
        self._rows_per_s = sizes.largest / sizes.seconds[-1]
        self._waiting = Waiting()
        self._number = 0
        self._running = 0
        self._turn: asyncio.Handle | None = None
        self._turn_is_delayed = False
        self._closed = False

    @property
    def waiting_rows(self) -> int:
        """Rows in the queue."""
        return self._waiting.rows

    async def submit(
        self, inputs: Arrays, *, priority: int = 0, timeout_s: float | None = None
    ) -> dict[str, Array]:
        """The answers to all rows of `inputs`, in their order.

        Raises QueueFull, DeadlinePassed when the last row was not started within `timeout_s`,
        Stopping, and what the run raises on these rows.
        """
        future: asyncio.Future[dict[str, Array]] = asyncio.get_running_loop().create_future()
        request = self.ask(inputs, partial(fulfil, future), priority=priority, timeout_s=timeout_s)
        request.future = future
        try:
            return await future
        except asyncio.CancelledError:
            self.withdraw(request)
            raise

    def ask(
        self, inputs: Arrays, tell: Tell, *, priority: int = 0, timeout_s: float | None = None
    ) -> Request:
        """The same without a task: `tell` is called with the answers, or the reason why there are
        none, from the event loop; it must not raise. Raises QueueFull and Stopping itself."""
        request = self._admit(inputs, tell, priority, timeout_s)
        self._waiting.add(request)
        if timeout_s is not None:
            loop = asyncio.get_running_loop()
            request.timer = loop.call_later(timeout_s, self._expire, request)
        self._plan_turn()
        return request

    def withdraw(self, request: Request) -> None:
        """Its caller has left: what is not run yet is not run, and nobody is told."""
        if not request.done:
            self._end(request)
            self._observer.failed(self._clock() - request.arrived, Failure.CANCELLED)

    def close(self) -> None:
        """Answers what still waits with Stopping, and takes nothing more; runs are finished."""
        self._closed = True
        for request in self._waiting.requests():
            self._fail(request, Stopping("server: stopped before this request was run"))

    def _admit(self, inputs: Arrays, tell: Tell, priority: int, timeout_s: float | None) -> Request:
        now = self._clock()
        wait_s = self._limits.queue_timeout_s if timeout_s is None else timeout_s
        order = (priority or DEFAULT_PRIORITY, self._number)
        request = Request(inputs, tell, order, now, now + int(wait_s * _S))
        if self._closed:
            self._observer.failed(0, Failure.STOPPING)
            raise Stopping("server: expected no more requests, it is stopping")
        waiting, limit = self._waiting.rows, self._limits.max_queue_rows
        if waiting and waiting + request.rows > limit:
            self._observer.failed(0, Failure.QUEUE_FULL)
            raise QueueFull(
                f"queue: expected room for {request.rows} rows, got {waiting} of {limit} waiting",
                retry_after_s=min(waiting, waiting + request.rows - limit) / self._rows_per_s,
            )
        self._number += 1
        return request

    def _plan_turn(self, delay_s: float = 0.0) -> None:
        """Looks at the queue soon, when everything that has already arrived is in it."""
        if self._turn is not None:
            if not self._turn_is_delayed:
                return
            self._turn.cancel()
        loop, self._turn_is_delayed = asyncio.get_running_loop(), delay_s > 0
        later = self._turn_is_delayed
        self._turn = (
            loop.call_later(delay_s, self._take_turn) if later else loop.call_soon(self._take_turn)
        )

    def _take_turn(self) -> None:
        self._turn = None
        while self._running < self._lanes.count and (batch := self._next_batch()):
            if batch.size in self._inline:
                self._finish(batch, self._execute(batch))
                if self._waiting.rows:
                    self._plan_turn()  # after what has arrived meanwhile
                return
            self._running += 1
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._lanes.executor, self._execute, batch)
            work.add_done_callback(partial(self._returned, batch))

    def _returned(self, batch: Batch, done: "asyncio.Future[list[Outcome]]") -> None:
        self._running -= 1
        self._finish(batch, done.result())
        if self._waiting.rows:
            self._plan_turn()

    def _next_batch(self) -> Batch | None:
        now = self._clock()
        for request in self._waiting.drop_expired(now):
            self._fail(request, _too_late(request))
        if not self._waiting.rows:
            return None
        waiting, since = self._waiting.next_rows()
        release = Release.IDLE if self._waiting.shapes == 1 else Release.SHAPE
        if waiting >= self._largest:
            release = Release.FULL
        elif self._limits.batch_delay_s:
            if (left_ns := since + int(self._limits.batch_delay_s * _S) - now) > 0:
                self._plan_turn(left_ns / _S)
                return None
            release = Release.DELAY
        alone = not self._running and waiting == self._waiting.rows
        rows = self._rows_of_next(waiting)
        parts, expired = self._waiting.take(rows, now)
        for request in expired:
            self._fail(request, _too_late(request))
        size = self._fits[sum(part.rows for part in parts)]
        return Batch(parts, size, release, alone and not self._waiting.rows)

    def _rows_of_next(self, waiting: int) -> int:
        rows = self._plans[min(waiting, self._largest)]
        free = self._lanes.count - self._running
        if free == 1 or self._fits[rows] in self._inline:
            return rows
        share = max(self._smallest, -(-waiting // free))  # every free lane gets something to do
        return self._plans[min(share, self._largest)]

    def _execute(self, batch: Batch) -> list[Outcome]:
        """Runs a batch, in whichever thread; an outcome for each part."""
        batch.started = self._clock()
        try:
            inputs = gather(batch.parts, batch.size)
            batch.ready = self._clock()
            outputs = self._run(inputs, batch.alone)
            batch.ended = self._clock()
            return scatter(batch.parts, outputs)
        except InferenceFailed as error:
            if len(batch.parts) == 1:
                return [error]
            return run_apart(self._run, batch.parts, self._fits)
        except Exception as error:  # out of memory, say: the callers are told, the queue goes on
            return [error] * len(batch.parts)

    def _finish(self, batch: Batch, outcomes: list[Outcome]) -> None:
        now = self._clock()
        rows = sum(part.rows for part in batch.parts)
        ready, ended = batch.ready or now, batch.ended or now
        execution = Execution(
            rows, batch.release, ready - batch.started, ended - ready, now - ended
        )
        if batch.ended:
            self._observer.executed(execution, time_ns() // 1_000_000)
            rate = rows * self._lanes_used(batch) * _S / max(1, now - batch.started)
            self._rows_per_s += _SMOOTHING * (rate - self._rows_per_s)
        answered = 0
        for part, outcome in zip(batch.parts, outcomes, strict=True):
            request = part.request
            if request.over:  # it left, its time was over, or another part failed
                continue
            if isinstance(outcome, Exception):
                self._fail(request, outcome)
                continue
            request.began = request.began or batch.started
            request.answers[part.start] = outcome
            request.missing -= part.rows
            if not request.missing:
                self._answer(request, now)
                answered += 1
        self._observer.computed(execution, answered)

    def _lanes_used(self, batch: Batch) -> int:
        return 1 if batch.size in self._inline else max(1, self._running)

    def _answer(self, request: Request, now: int) -> None:
        request.done = True
        if request.timer is not None:
            request.timer.cancel()
        self._observer.answered(now - request.arrived, request.began - request.arrived)
        request.tell(join(request.answers))

    def _expire(self, request: Request) -> None:
        if request.taken < request.rows:  # else all its rows run in time
            self._fail(request, _too_late(request))

    def _fail(self, request: Request, error: Exception) -> None:
        if not request.over:
            self._end(request)
            failure = _FAILURES.get(type(error), Failure.FAILED)
            self._observer.failed(self._clock() - request.arrived, failure)
            request.tell(error)

    def _end(self, request: Request) -> None:
        request.done = True
        self._waiting.remove(request)
        if request.timer is not None:
            request.timer.cancel()


def _too_late(request: Request) -> DeadlinePassed:
    allowed = (request.deadline - request.arrived) / _S
    return DeadlinePassed(f"request: expected its run to begin within {allowed:g} s of its arrival")
