"""Thousands of random interleavings, of several shapes; answers keep their bits and places."""

import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.batch import Arrays
from service.batch_sizes import BatchSizes
from service.batching import Batcher, Lanes, QueueLimits
from service.manifest import Check
from service.statistics import Failure, ModelStatistics
from service.tensors import Array

CHECK = Check(passed=True, figure=0.0, limit=0.0, detail="")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def network(inputs: Arrays, _: bool) -> dict[str, Array]:
    """Elementwise, so that its bits do not depend on the batch."""
    return {"y": np.sin(inputs["x"]) * inputs["z"]}


@pytest.mark.parametrize("inline", [True, False])
def test_answers_are_the_same_bits_however_they_were_batched(
    inline: bool, executor: ThreadPoolExecutor
) -> None:
    """4,000 requests: 1 to 20 rows, three shapes, priorities, pauses, callers that leave."""
    draw, rng = random.Random(5), np.random.default_rng(5)
    statistics = ModelStatistics()
    known = BatchSizes((1, 2, 3, 6, 8), (1e-4,) * 5, CHECK)
    lanes = Lanes(executor, 2, 1.0 if inline else 0.0)

    async def caller(batcher: Batcher) -> None:
        shape = (draw.randint(1, 20), draw.choice([1, 3, 7]))
        sent = {n: rng.standard_normal(shape).astype(np.float32) for n in ("x", "z")}
        for _ in range(draw.randint(0, 3)):
            await asyncio.sleep(0)
        task = asyncio.create_task(batcher.submit(sent, priority=draw.randint(0, 3)))
        if draw.random() < 0.1:
            await asyncio.sleep(0)
            task.cancel()
        try:
            answer = await task
        except asyncio.CancelledError:
            return
        assert answer["y"].tobytes() == network(sent, True)["y"].tobytes()

    async def scenario() -> None:
        limits = QueueLimits(max_queue_rows=100_000)
        batcher = Batcher(network, known, lanes, limits, statistics, time.perf_counter_ns)
        pending: set[asyncio.Task[None]] = set()
        for _ in range(4000):
            pending.add(asyncio.create_task(caller(batcher)))
            if len(pending) >= 50:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*pending)
        assert batcher.waiting_rows == 0

    asyncio.run(scenario())
    cancelled = statistics.failures[Failure.CANCELLED]
    assert statistics.success.count + cancelled == 4000
    assert cancelled > 50
    assert max(statistics.batches) == 8
