"""An answer is the same bits however its rows were batched: a trained network, random company.

Every row's answer is first asked for alone. Then thousands of requests with random rows of these
meet at random moments: of 1 to 100 rows (so that some are split), with priorities, with deadlines
that pass, from callers that leave. Each answer is compared with those, bit by bit.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from service.errors import DeadlinePassed
from service.model import Model
from service.registry import load_registry
from service.statistics import Failure
from tests.servers import Server, poll, start

ROOT = Path(__file__).resolve().parents[2]
REQUESTS, CLIENTS = 2080, 16
AT_ONCE = (1, 3, 10, 30)
INPUT, OUTPUT = "image", "logits"
PATH = "/v2/models/mnist-cnn/infer"
Rows = NDArray[np.float32]


def pool(count: int) -> Rows:
    """Images [count, 1, 28, 28]: like those of training, constant, very bright, nearly black."""
    random = np.random.default_rng(11)
    images = random.standard_normal((count, 1, 28, 28))
    images *= random.choice([1.0, 0.3, 1e-6, 1e3], (count, 1, 1, 1))
    images[::17] = images[::17, :, :1, :1]
    return images.astype(np.float32)


def rows_of(draw: random.Random, count: int) -> list[int]:
    """Which rows a request holds: mostly few, sometimes more than a batch."""
    most = draw.choice([1, 1, 2, 3, 4, 8, 8, 16, 16, 100])
    return [draw.randrange(count) for _ in range(draw.randint(1, most))]


async def interleave(callers: Iterator[Coroutine[Any, Any, None]], draw: random.Random) -> None:
    """Runs them, a changing number at a time."""
    pending: set[asyncio.Task[None]] = set()
    for caller in callers:
        pending.add(asyncio.create_task(caller))
        if len(pending) >= draw.choice(AT_ONCE):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    await asyncio.gather(*pending)


@pytest.mark.parametrize("where", ["on the loop", "in threads"])
def test_through_the_batcher(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-over to a thread seems to cost an hour, or nothing; and a row little beside a run."""
    hand_over_s = 3600.0 if where == "on the loop" else 0.0
    monkeypatch.setattr("service.model.hand_over_seconds", lambda executor: hand_over_s)
    monkeypatch.setattr(
        "service.batch_sizes.best_time", lambda run, rows: 1e-3 + 1e-6 * len(rows[INPUT])
    )
    registry = load_registry(ROOT / "models", threads=2)
    model, images, draw = registry.get("mnist-cnn"), pool(200), random.Random(12)
    alone = asyncio.run(answers_alone(model, images))
    before = model.statistics.success.count

    async def caller() -> None:
        rows = rows_of(draw, len(images))
        timeout_s = draw.choice([None, None, None, 0.0005, 0.003])
        await asyncio.sleep(draw.choice([0, 0, 0, 0.001]))
        asked = model.predict(
            {INPUT: images[rows]}, priority=draw.randint(0, 3), timeout_s=timeout_s
        )
        task = asyncio.create_task(asked)
        if draw.random() < 0.1:
            await asyncio.sleep(draw.choice([0, 0, 0.001]))
            task.cancel()
        try:
            logits = (await task)[OUTPUT]
        except (asyncio.CancelledError, DeadlinePassed):
            return
        assert logits.tobytes() == alone[rows].tobytes()

    asyncio.run(interleave((caller() for _ in range(REQUESTS)), draw))
    statistics = model.statistics
    failures = statistics.failures
    assert statistics.success.count - before + failures.total() == REQUESTS
    assert set(failures) == {Failure.CANCELLED, Failure.DEADLINE}
    assert min(failures.values()) > 50
    assert len(statistics.batches) > 20, "expected batches of many sizes"
    assert max(statistics.batches) == model.batch_sizes.largest
    assert model.batcher.waiting_rows == 0
    registry.close()


async def answers_alone(model: Model, images: Rows) -> Rows:
    """The answer to each row with no other beside it; where one row is run as it is, ONNX's own."""
    alone = [(await model.predict({INPUT: images[i : i + 1]}))[OUTPUT] for i in range(len(images))]
    if model.batch_sizes.sizes[0] == 1:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = ROOT / "models" / "mnist-cnn" / "1" / "model.onnx"
        session = onnxruntime.InferenceSession(path, options)
        for i, answer in enumerate(alone):
            assert (
                session.run([OUTPUT], {INPUT: images[i : i + 1]})[0].tobytes() == answer.tobytes()
            )
    return np.concatenate(alone)


@pytest.fixture
def server() -> Iterator[Server]:
    started = start("--models", str(ROOT / "models"), "--workers", "2", FOLDSERVE_DRIFT_SAMPLE="4")
    poll(lambda: started.status("/v2/health/ready") == 200, "readiness")
    yield started
    status, errors = started.stop()
    assert status == 0, errors
    assert "Traceback" not in errors


def test_over_http_with_two_workers_and_drift_watched(server: Server) -> None:
    images, draws = pool(60), [random.Random(13 + i) for i in range(CLIENTS)]
    with closing(connect(server)) as first:
        alone = [ask(first, images[i : i + 1], {}) for i in range(len(images))]
    expected = np.concatenate([scores for scores in alone if isinstance(scores, np.ndarray)])
    assert len(expected) == len(images)

    def client(draw: random.Random) -> Counter[str]:
        counts, connection = Counter[str](), connect(server)
        for _ in range(REQUESTS // CLIENTS):
            rows = rows_of(draw, len(images))
            parameters: dict[str, int] = {"priority": draw.randint(0, 3)}
            if draw.random() < 0.2:
                parameters["timeout"] = draw.choice([1, 500, 3000])  # microseconds
            if draw.random() < 0.1:
                send(connection, images[rows], parameters)
                time.sleep(draw.choice([0, 0.001, 0.005]))
                connection.close()  # the next request opens another, perhaps to the other worker
                counts["left"] += 1
                continue
            scores = ask(connection, images[rows], parameters)
            counts["answered" if scores is not None else "too late"] += 1
            assert scores is None or scores.tobytes() == expected[rows].tobytes()
        connection.close()
        return counts

    with ThreadPoolExecutor(CLIENTS) as executor:
        counts = sum(executor.map(client, draws), Counter[str]())
    assert counts.total() == REQUESTS
    assert min(counts["left"], counts["too late"]) > 50, counts


def connect(server: Server) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", server.port, timeout=30)


def send(connection: HTTPConnection, images: Rows, parameters: dict[str, int]) -> None:
    """An inference request, with images and scores as bytes."""
    data = images.tobytes()
    given = {"binary_data_size": len(data)}
    entry = {"name": INPUT, "shape": images.shape, "datatype": "FP32", "parameters": given}
    options = {**parameters, "binary_data_output": True}
    head = json.dumps({"inputs": [entry], "parameters": options}).encode()
    connection.request(
        "POST", PATH, head + data, {"Inference-Header-Content-Length": str(len(head))}
    )


def ask(connection: HTTPConnection, images: Rows, parameters: dict[str, int]) -> Rows | None:
    """The scores; None where the deadline passed."""
    send(connection, images, parameters)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status == 504:
        return None
    assert answer.status == 200, content
    length = int(answer.headers["inference-header-content-length"])
    return np.frombuffer(content[length:], np.float32).reshape(len(images), -1)
