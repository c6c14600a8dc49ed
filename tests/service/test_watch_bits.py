"""Answers are the same bits with the watch on and off: two real servers, concurrent batches."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.servers import Server, poll, start
from tests.service.test_metrics import samples
from tests.service.watched import NAME, Rows, images, write_watched

REQUESTS, CALLERS = 3000, 32
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("bits"))


def _request(number: int, rows: Rows) -> bytes:
    """One to five rows, in binary, as it goes over the wire."""
    picked = np.take(rows, range(number, number + 1 + number % 5), axis=0, mode="wrap")
    tensor: dict[str, Any] = {"name": "image", "datatype": "FP32", "shape": picked.shape}
    tensor["parameters"] = {"binary_data_size": picked.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = head + picked.tobytes()
    lines = [f"POST /v2/models/{NAME}/infer HTTP/1.1", "Host: x", f"{HEADER}: {len(head)}"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def _ask(server: Server) -> list[bytes]:
    """The answers' bodies, request by request; callers overlap, so that batches are mixed."""
    rows = images(64, 3)
    found = [b""] * REQUESTS

    async def call(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for number in range(first, REQUESTS, CALLERS):
            writer.write(_request(number, rows))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 200 "), head
            length = int(head.partition("\r\ncontent-length: ")[2].partition("\r\n")[0])
            found[number] = await reader.readexactly(length)
        writer.close()

    async with asyncio.timeout(120):
        await asyncio.gather(*(call(first) for first in range(CALLERS)))
    return found


def _answers(folder: Path, sample: int) -> list[bytes]:
    models = str(folder.parent.parent)
    setting = {"FOLDSERVE_DRIFT_SAMPLE": str(sample), "FOLDSERVE_DRIFT_BUDGET": "1"}
    setting["FOLDSERVE_BATCH_DELAY_MS"] = "2"  # batches, however slow the callers are
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
    assert samples(metrics, "foldserve_runs_total", "model")[NAME,] < 0.7 * REQUESTS
    assert all(len(answer) > 100 for answer in found)
    return found


def test_thousands_of_answers_are_the_same_bits_with_the_watch_on_and_off(folder: Path) -> None:
    assert _answers(folder, sample=1) == _answers(folder, sample=0)
