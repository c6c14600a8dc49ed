"""Answers are the same bits with the watch on and off: two real servers, concurrent batches."""

import asyncio
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.servers import Server, poll, start
from tests.service.test_metrics import samples
from tests.service.watched import NAME, images, write_watched

REQUESTS, CALLERS = 3000, 32
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("bits"))


async def _ask(server: Server) -> list[bytes]:
    """The answers' tensors, request by request; callers overlap, so that batches are mixed."""
    rows = images(64, 3)
    found = [b""] * REQUESTS

    async def call(client: httpx.AsyncClient, first: int) -> None:
        for number in range(first, REQUESTS, CALLERS):
            picked = np.take(rows, range(number, number + 1 + number % 5), axis=0, mode="wrap")
            tensor = {"name": "image", "datatype": "FP32", "shape": picked.shape}
            tensor["parameters"] = {"binary_data_size": picked.nbytes}
            asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
            head = json.dumps(asked).encode()
            headers = {HEADER: str(len(head))}
            body = head + picked.tobytes()
            done = await client.post(f"/v2/models/{NAME}/infer", content=body, headers=headers)
            assert done.status_code == 200, done.text
            found[number] = done.content[int(done.headers[HEADER]) :]

    async with httpx.AsyncClient(base_url=f"http://{server.address}", timeout=60) as client:
        await asyncio.gather(*(call(client, first) for first in range(CALLERS)))
    return found


def _answers(folder: Path, sample: int) -> list[bytes]:
    models = str(folder.parent.parent)
    setting = {"FOLDSERVE_DRIFT_SAMPLE": str(sample), "FOLDSERVE_DRIFT_BUDGET": "1"}
    server = start("--models", models, FOLDSERVE_THREADS="2", **setting)
    try:
        found = asyncio.run(_ask(server))
        with httpx.Client(base_url=f"http://{server.address}") as client:
            metrics = client.get("/metrics").text
            drift = f"/v2/models/{NAME}/drift"
            if sample:
                poll(lambda: client.get(drift).json()["n"] > 500, "watched rows")
            else:
                assert client.get(drift).status_code == 404
    finally:
        server.stop()
    assert samples(metrics, "foldserve_runs_total", "model")[NAME,] < 0.9 * REQUESTS
    return found


def test_thousands_of_answers_are_the_same_bits_with_the_watch_on_and_off(folder: Path) -> None:
    assert _answers(folder, sample=1) == _answers(folder, sample=0)
