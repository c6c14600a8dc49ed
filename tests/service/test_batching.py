"""Batching: rows together, answers apart; what is late, gone, faulty or too much harms nobody."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.batch import Arrays
from service.batch_sizes import BatchSizes
from service.batching import Batcher, Lanes, QueueLimits
from service.errors import DeadlinePassed, InferenceFailed, QueueFull, Stopping
from service.manifest import Check
from service.statistics import Failure, ModelStatistics, Release
from service.tensors import Array

CHECK = Check(passed=True, figure=0.0, limit=0.0, detail="")
POISON = -1.0


class Doubling:
    """Answers 2x, notes every batch, and fails on batches with a poisoned row."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[float]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.alone: list[bool] = []
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs: Arrays, alone: bool) -> dict[str, Array]:
        self.gate.wait(10)
        time.sleep(self.seconds)
        self.batches.append(inputs["x"].reshape(len(inputs["x"]), -1)[:, 0].tolist())
        self.shapes.append(inputs["x"].shape)
        self.alone.append(alone)
        if (inputs["x"] == POISON).any():
            raise InferenceFailed("the network failed on its input: poison")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def make(executor: ThreadPoolExecutor) -> Callable[..., tuple[Batcher, ModelStatistics]]:
    """A batcher for batches of 1, 2, 4 and 8, inline or in threads."""

    def made(
        run: Doubling,
        inline: bool = True,
        sizes: tuple[int, ...] = (1, 2, 4, 8),
        lanes: int = 1,
        **limits: float,
    ) -> tuple[Batcher, ModelStatistics]:
        statistics = ModelStatistics()
        known = BatchSizes(sizes, (1e-3,) * len(sizes), CHECK)
        where = Lanes(executor, lanes, 1.0 if inline else 0.0)
        bounds = QueueLimits(**limits)  # type: ignore[arg-type]
        batcher = Batcher(run, known, where, bounds, statistics, time.perf_counter_ns)
        return batcher, statistics

    return made


def rows(*values: float, width: int = 1) -> dict[str, Array]:
    """A request: each value repeated over a row."""
    return {"x": np.repeat(np.array(values, np.float32)[:, None], width, 1)}


Make = Callable[..., tuple[Batcher, ModelStatistics]]


def test_what_waits_runs_together_and_never_above_the_maximum(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run)
        answers = await asyncio.gather(*(batcher.submit(rows(i, i + 0.5)) for i in range(6)))
        for i, answer in enumerate(answers):
            assert answer["y"][:, 0].tolist() == [2 * i, 2 * i + 1]
        assert [len(batch) for batch in run.batches] == [8, 4]  # rows, not requests
        assert (statistics.inference_count, statistics.execution_count) == (12, 2)
        assert statistics.releases == {Release.FULL: 1, Release.IDLE: 1}

    asyncio.run(scenario())


def test_a_large_request_is_split_and_joined_in_order(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run, inline=False, lanes=2)
        answer = await batcher.submit(rows(*range(37)))
        assert answer["y"][:, 0].tolist() == [2.0 * i for i in range(37)]
        assert max(map(len, run.batches)) == 8
        assert statistics.success.count == 1

    asyncio.run(scenario())


def test_batches_between_the_sizes_are_padded_with_a_row_of_their_own(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, _ = make(run, sizes=(4, 8))
        answer = await batcher.submit(rows(1, 2, 3))
        assert run.batches == [[1, 2, 3, 3]]
        assert answer["y"][:, 0].tolist() == [2, 4, 6]

    asyncio.run(scenario())


def test_different_shapes_never_share_a_batch(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, _ = make(run)
        answers = await asyncio.gather(
            *(batcher.submit(rows(i, width=1 + i % 2)) for i in range(8))
        )
        assert [answer["y"].shape for answer in answers] == [(1, 1), (1, 2)] * 4
        assert run.shapes == [(4, 1), (4, 2)]

    asyncio.run(scenario())


def test_one_bad_request_harms_nobody_beside_it(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run)
        sent = [rows(1), rows(POISON), rows(2, 3)]
        answers = await asyncio.gather(*map(batcher.submit, sent), return_exceptions=True)
        assert isinstance(answers[1], InferenceFailed)
        for answer, expected in ((answers[0], [2]), (answers[2], [4, 6])):
            assert isinstance(answer, dict)
            assert answer["y"][:, 0].tolist() == expected
        assert statistics.failures == {Failure.FAILED: 1}

    asyncio.run(scenario())


def test_cancelled_rows_are_dropped_before_the_run(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run, inline=False)
        run.gate.clear()
        first = asyncio.create_task(batcher.submit(rows(0)))
        await asyncio.sleep(0.01)  # it runs
        waiting = [asyncio.create_task(batcher.submit(rows(i))) for i in range(1, 5)]
        await asyncio.sleep(0.01)
        waiting[1].cancel()
        first.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting_rows == 3
        run.gate.set()
        answers = await asyncio.gather(waiting[0], waiting[2], waiting[3])
        assert [answer["y"].item() for answer in answers] == [2, 6, 8]
        assert run.batches == [[0], [1, 3, 4, 4]]
        assert statistics.failures == {Failure.CANCELLED: 2}

    asyncio.run(scenario())


def test_a_deadline_is_kept_while_another_batch_runs(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run, inline=False)
        run.gate.clear()
        first = asyncio.create_task(batcher.submit(rows(0)))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(DeadlinePassed, match=r"within 0\.05 s"):
            await batcher.submit(rows(1), timeout_s=0.05)
        assert time.monotonic() - began < 1  # it is told at once, not when the run ends
        with pytest.raises(DeadlinePassed):
            await batcher.submit(rows(1), timeout_s=0)
        run.gate.set()
        await first
        assert run.batches == [[0]]
        assert batcher.waiting_rows == 0
        assert statistics.failures == {Failure.DEADLINE: 2}

    asyncio.run(scenario())


def test_a_full_queue_says_when_there_is_room(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run, inline=False, max_queue_rows=16)
        run.gate.clear()
        running = asyncio.create_task(batcher.submit(rows(0)))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(batcher.submit(rows(*range(16))))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="16 of 16") as full:
            await batcher.submit(rows(1, 2))
        # 8 rows take 1 ms, as far as is known: room for 2 rows in 0.25 ms
        assert full.value.retry_after_s == pytest.approx(2 / 8000)
        run.gate.set()
        await asyncio.gather(running, waiting)
        assert (await batcher.submit(rows(*range(100))))["y"].shape == (100, 1)  # nothing waits
        assert statistics.failures == {Failure.QUEUE_FULL: 1}

    asyncio.run(scenario())


def test_priorities_go_first_and_equals_keep_their_order(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, _ = make(run, inline=False, sizes=(1,))
        run.gate.clear()
        first = asyncio.create_task(batcher.submit(rows(0)))
        await asyncio.sleep(0.01)
        priorities = [0, 3, 1, 2, 1, 0]
        tasks = [
            asyncio.create_task(batcher.submit(rows(10 + i), priority=priority))
            for i, priority in enumerate(priorities)
        ]
        await asyncio.sleep(0)
        run.gate.set()
        await asyncio.gather(first, *tasks)
        assert [batch[0] for batch in run.batches] == [0, 12, 14, 10, 13, 15, 11]

    asyncio.run(scenario())


def test_a_delay_collects_and_a_full_batch_does_not_wait_for_it(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, statistics = make(run, batch_delay_s=0.2)
        tasks = [asyncio.create_task(batcher.submit(rows(i))) for i in range(3)]
        await asyncio.sleep(0.02)
        assert run.batches == []
        await asyncio.gather(*tasks)
        began = time.monotonic()
        await asyncio.gather(*(batcher.submit(rows(i)) for i in range(8)))
        assert time.monotonic() - began < 0.1
        assert [len(batch) for batch in run.batches] == [4, 8]
        assert statistics.releases == {Release.DELAY: 1, Release.FULL: 1}

    asyncio.run(scenario())


def test_every_free_lane_gets_a_share_and_one_alone_is_told(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling(seconds=0.02)
        batcher, _ = make(run, inline=False, lanes=2)
        await asyncio.gather(*(batcher.submit(rows(i)) for i in range(4)))
        assert sorted(map(len, run.batches)) == [2, 2]
        assert run.alone == [False, False]
        await batcher.submit(rows(1))
        assert run.alone[-1]

    asyncio.run(scenario())


def test_stopping_answers_what_waits_and_takes_nothing_more(make: Make) -> None:
    async def scenario() -> None:
        run = Doubling()
        batcher, _ = make(run, inline=False)
        run.gate.clear()
        running = asyncio.create_task(batcher.submit(rows(1)))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(batcher.submit(rows(2)))
        await asyncio.sleep(0)
        batcher.close()
        with pytest.raises(Stopping):
            await waiting
        with pytest.raises(Stopping):
            await batcher.submit(rows(3))
        run.gate.set()
        assert (await running)["y"].item() == 2

    asyncio.run(scenario())
