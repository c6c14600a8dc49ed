"""A batch: rows of several requests as one run of the network, and its answers given back.

Pure functions on arrays and the records that they pass; no clock, no queue, no event loop.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InferenceFailed
from service.statistics import Release
from service.tensors import Array

Arrays = Mapping[str, Array]
Run = Callable[[Arrays, bool], dict[str, Array]]  # (inputs, whether the machine is idle otherwise)
Outcome = dict[str, Array] | Exception
Tell = Callable[[Outcome], None]


class Request:
    """One call that waits: its rows, when it came, until when it may wait, what it has so far.

    `tell` is called once, with the answer or why there is none; not after a withdrawal. `future`
    is that of who waits in a task, which may be cancelled a moment before the withdrawal.
    """

    __slots__ = (
        "answers", "arrived", "began", "deadline", "done", "future", "inputs", "missing", "order",
        "rows", "shape", "taken", "tell", "timer",
    )  # fmt: skip

    def __init__(
        self, inputs: Arrays, tell: Tell, order: tuple[int, int], arrived: int, deadline: int
    ) -> None:
        first = next(iter(inputs.values()))
        self.inputs, self.rows = inputs, len(first)
        self.shape = tuple([array.shape[1:] for array in inputs.values()])
        self.order = order  # (priority, number in order of arrival): what sorts first runs first
        self.arrived, self.deadline = arrived, deadline  # nanoseconds of the batcher's clock
        self.began = 0
        self.taken = 0  # rows that were given to a run
        self.missing = self.rows  # rows without an answer
        self.answers: dict[int, dict[str, Array]] = {}  # by the first row of each part
        self.tell, self.done = tell, False
        self.future: asyncio.Future[dict[str, Array]] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.done or (self.future is not None and self.future.cancelled())


class Part:
    """Rows of one request in a batch: `start` to `stop` of that request."""

    __slots__ = ("request", "rows", "start", "stop")

    def __init__(self, request: Request, start: int, stop: int) -> None:
        self.request, self.start, self.stop = request, start, stop
        self.rows = stop - start

    def inputs(self) -> Arrays:
        """The rows themselves, not copied."""
        if self.rows == self.request.rows:
            return self.request.inputs
        return {name: a[self.start : self.stop] for name, a in self.request.inputs.items()}


@dataclass(slots=True)
class Batch:
    """Parts that are run together at `size`, why they do not wait for more, and what it took."""

    parts: list[Part]
    size: int
    release: Release
    alone: bool
    started: int = 0  # nanoseconds of the clock, as the next three
    ready: int = 0
    ended: int = 0


def gather(parts: Sequence[Part], size: int) -> Arrays:
    """The rows of all parts in their order, filled up to `size` by repeating the last one.

    A repeated row of a real request can neither overflow nor divide by zero where no real one
    does; what it answers is thrown away.
    """
    rows = sum(part.rows for part in parts)
    if len(parts) == 1 and rows == size:
        return parts[0].inputs()
    sent = [part.inputs() for part in parts]
    gathered = {}
    for name, last in sent[-1].items():
        arrays = [inputs[name] for inputs in sent]
        arrays += [last[-1:]] * (size - rows)
        gathered[name] = np.concatenate(arrays)
    return gathered


def scatter(parts: Sequence[Part], outputs: Arrays) -> list[Outcome]:
    """The answer of each part, in order; rows beyond the last part were padding."""
    if len(parts) == 1 and parts[0].rows == len(next(iter(outputs.values()))):
        return [dict(outputs)]
    outcomes: list[Outcome] = []
    start = 0
    for part in parts:
        stop = start + part.rows
        outcomes.append({name: array[start:stop] for name, array in outputs.items()})
        start = stop
    return outcomes


def run_apart(run: Run, parts: Sequence[Part], fits: Sequence[int]) -> list[Outcome]:
    """Runs each part alone, after a run of all together failed: the faulty ones fail alone.

    `fits[n]` is the size at which n rows are run.
    """
    outcomes: list[Outcome] = []
    for part in parts:
        try:
            outcomes += scatter([part], run(gather([part], fits[part.rows]), False))
        except InferenceFailed as error:
            outcomes.append(error)
    return outcomes


def join(answers: Mapping[int, dict[str, Array]]) -> dict[str, Array]:
    """One answer from those of a request's parts, by the row that each begins with."""
    if len(answers) == 1:
        return answers[0]
    ordered = [answers[start] for start in sorted(answers)]
    return {name: np.concatenate([answer[name] for answer in ordered]) for name in ordered[0]}


def fulfil(future: "asyncio.Future[dict[str, Array]]", outcome: Outcome) -> None:
    """Gives a future its outcome."""
    if future.done():  # its caller was cancelled, and withdraws in a moment
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
