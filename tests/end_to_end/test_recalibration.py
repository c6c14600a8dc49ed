"""Shifted traffic, its drift, a version that is re-calibrated on what was recorded, and no drift.

A real server process with the shipped bundle, over HTTP, with real digits; the command is run as an
operator would run it.
"""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.servers import poll, start
from training.data import Dataset

ROOT = Path(__file__).resolve().parents[2]
MODEL = "/v2/models/mnist-cnn"
ADMIN = {"x-api-key": "the-admin-key"}
ROWS, BATCH = 240, 20
Images = NDArray[np.float32]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "models" / "mnist-cnn" / "1", folder / "mnist-cnn" / "1")
    return folder


@pytest.fixture(scope="module")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that watches and records every request."""
    server = start(
        "--models",
        str(models),
        FOLDSERVE_RECORD=str(tmp_path_factory.mktemp("recorded")),
        FOLDSERVE_DRIFT_SAMPLE="1",
        FOLDSERVE_DRIFT_BUDGET="1",
        FOLDSERVE_ADMIN_KEYS=ADMIN["x-api-key"],
    )
    try:
        poll(lambda: server.status("/v2/health/ready") == 200, "the server to be ready")
        with httpx.Client(base_url=f"http://{server.address}", timeout=30) as made:
            yield made
    finally:
        status, errors = server.stop()
    assert status == 0, errors


def digits(data: Dataset, first: int, brighter: float = 0.0) -> Images:
    """Test digits that are not in the bundle's baseline, as the network takes them."""
    rows = slice(2 * first + 1, 2 * (first + ROWS) + 1, 2)
    pixels = np.clip(data.test_images[rows] / 255 + brighter, 0, 1)
    return ((pixels - data.source.mean) / data.source.std)[:, np.newaxis].astype(np.float32)


def labels(data: Dataset, first: int) -> NDArray[np.uint8]:
    return data.test_labels[2 * first + 1 : 2 * (first + ROWS) + 1 : 2]


def infer(client: httpx.Client, images: Images, version: int) -> Images:
    """The logits, in requests of some rows, as binary tensors."""
    parts = []
    for start_row in range(0, len(images), BATCH):
        rows = images[start_row : start_row + BATCH]
        tensor = {
            "name": "image",
            "shape": list(rows.shape),
            "datatype": "FP32",
            "parameters": {"binary_data_size": rows.nbytes},
        }
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        answer = client.post(
            f"{MODEL}/versions/{version}/infer",
            content=head + rows.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        ).raise_for_status()
        length = int(answer.headers["Inference-Header-Content-Length"])
        parts.append(np.frombuffer(answer.content[length:], np.float32).reshape(len(rows), 10))
    return np.concatenate(parts)


def drift(client: httpx.Client, version: int, rows: int) -> dict[str, Any]:
    """The report, when so many images have been looked at."""
    place = f"{MODEL}/versions/{version}/drift"
    poll(lambda: client.get(place).json()["n"] >= rows, f"{rows} images in the report")
    report: dict[str, Any] = client.get(place).json()
    return report


def test_from_shifted_traffic_to_a_version_without_drift(
    client: httpx.Client, models: Path, mnist: Dataset
) -> None:
    ordinary, bright = digits(mnist, 0), digits(mnist, 1000, brighter=0.2)
    before = infer(client, ordinary, 1)
    assert drift(client, 1, ROWS)["verdict"] in ("ok", "watch")

    for what in ("drift", "recording"):  # what comes now is the new domain
        client.post(f"{MODEL}/versions/1/{what}/reset", headers=ADMIN).raise_for_status()
    wrong = infer(client, bright, 1)
    assert (wrong.argmax(axis=1) == labels(mnist, 1000)).mean() < 0.3
    report = drift(client, 1, ROWS)
    assert report["verdict"] == "drift"
    assert report["likely_cause"] == "the images are brighter"
    assert report["diagnosis"].startswith("from the first layers on means moved")

    for headers, status in (({}, 401), (ADMIN, 200)):
        assert client.get(f"{MODEL}/recording", headers=headers).status_code == status
    command = [sys.executable, "-c", "from training.cli import main; main()", "recalibrate"]
    command += [str(models / "mnist-cnn" / "1"), "--from", str(client.base_url), "--json"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, "401, key: expected one" in refused.stderr) == (2, True)
    command += ["--key", ADMIN["x-api-key"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bundle"] == str(models / "mnist-cnn" / "2")
    assert told["recalibration"]["images"] == ROWS // 2

    client.post("/v2/repository/models/mnist-cnn/load", headers=ADMIN).raise_for_status()
    assert client.get(MODEL).json()["versions"] == ["1", "2"]
    others = digits(mnist, 2000, brighter=0.2)
    right = infer(client, others, 2)
    assert (right.argmax(axis=1) == labels(mnist, 2000)).mean() > 0.97
    assert drift(client, 2, ROWS)["verdict"] in ("ok", "watch")
    assert not any(layer["alarm"] for layer in drift(client, 2, ROWS)["layers"])

    assert infer(client, ordinary, 1).tobytes() == before.tobytes()  # a version is one function
    layer = client.get(f"{MODEL}/versions/2/normalization/features.1").json()
    assert layer["statistics"] == "re-calibrated"


def test_the_recording_is_what_was_sent(client: httpx.Client, mnist: Dataset) -> None:
    client.post(f"{MODEL}/versions/1/recording/reset", headers=ADMIN).raise_for_status()
    sent = digits(mnist, 500)
    infer(client, sent, 1)
    answer = client.get(f"{MODEL}/versions/1/recording", headers=ADMIN).raise_for_status()
    with np.load(io.BytesIO(answer.content)) as archive:
        kept = archive["image"]
    assert sorted(row.tobytes() for row in kept) == sorted(row.tobytes() for row in sent)
