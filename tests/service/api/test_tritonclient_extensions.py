"""The unmodified clients of Triton, sync and aio, and curl, through every extension there is."""

import asyncio
import json
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.servers import Server, start
from tests.service.api.requests import images
from tests.service.bundles import LABELS, write_bundle

with warnings.catch_warnings():  # of its dependencies, on import
    warnings.simplefilter("ignore")
    from tritonclient import http
    from tritonclient.http import aio
    from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server whose models may be loaded and unloaded, and their folder."""
    folder = tmp_path_factory.mktemp("own")
    write_bundle(folder, "tiny", 1)
    server = start("--models", str(folder), FOLDSERVE_THREADS="1")
    yield server, folder
    status, errors = server.stop()
    assert status == 0
    assert "Traceback" not in errors


@pytest.fixture
def triton(own: tuple[Server, Path]) -> Iterator[Any]:
    """The sync client."""
    client = http.InferenceServerClient(own[0].address)
    yield client
    client.close()


def scores(folder: Path, rows: int) -> np.ndarray[Any, Any]:
    """What ONNX Runtime alone answers to `images(rows)`."""
    network = (folder / "tiny" / "1" / "model.onnx").read_bytes()
    (answer,) = ort.InferenceSession(network).run(None, {"image": images(rows)})
    return np.asarray(answer)


def image_input(kind: Any, rows: int, binary: bool = True) -> Any:
    """The input in the words of a client."""
    sent = kind("image", [rows, 3, 8, 8], "FP32")
    sent.set_data_from_numpy(images(rows), binary_data=binary)
    return sent


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_compression_both_ways(
    triton: Any, own: tuple[Server, Path], algorithm: str, binary: bool
) -> None:
    answer = triton.infer(
        "tiny",
        [image_input(http.InferInput, 100, binary)],
        outputs=[http.InferRequestedOutput("scores", binary_data=binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(answer.as_numpy("scores"), scores(own[1], 100))


@pytest.mark.parametrize("binary", [True, False])
def test_classification(triton: Any, own: tuple[Server, Path], binary: bool) -> None:
    wanted = [http.InferRequestedOutput("scores", binary_data=binary, class_count=2)]
    answer = triton.infer("tiny", [image_input(http.InferInput, 3)], outputs=wanted)
    for got, row in zip(answer.as_numpy("scores"), scores(own[1], 3), strict=True):
        texts = [value.decode() if isinstance(value, bytes) else value for value in got]
        best = np.argsort(-row)[:2]
        assert texts == [f"{row[i]:.6f}:{i}:{LABELS[i]}" for i in best]


def test_priority_timeout_and_parameters(triton: Any) -> None:
    answer = triton.infer(
        "tiny",
        [image_input(http.InferInput, 1)],
        priority=1,
        timeout=5_000_000,
        parameters={"note": "x", "count": 3, "ratio": 0.5, "flag": True},
        headers={"X-Request-ID": "seven"},
    )
    assert answer.get_response()["model_version"] == "1"


def test_raw_body(triton: Any, own: tuple[Server, Path]) -> None:
    body, length = images(1).tobytes(), 0
    answer = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--data-binary", "@-", "--dump-header", "-"),
            *("--header", f"Inference-Header-Content-Length: {length}"),
            f"http://{own[0].address}/v2/models/tiny/infer",
        ],
        input=body,
        capture_output=True,
        check=True,
    ).stdout
    head, _, content = answer.partition(b"\r\n\r\n")
    (line,) = [x for x in head.decode().lower().splitlines() if "inference-header" in x]
    split = int(line.partition(":")[2])
    assert json.loads(content[:split])["model_name"] == "tiny"
    np.testing.assert_array_equal(
        np.frombuffer(content[split:], "<f4").reshape(1, 4), scores(own[1], 1)
    )


def test_statistics_configuration_and_log(triton: Any) -> None:
    triton.infer("tiny", [image_input(http.InferInput, 5)])
    (entry,) = triton.get_inference_statistics("tiny", "1")["model_stats"]
    assert entry["inference_count"] >= 5
    assert triton.get_inference_statistics()["model_stats"]
    config = triton.get_model_config("tiny")
    assert config["max_batch_size"] >= 1
    assert {i["name"] for i in config["input"]} == {"image"}
    assert triton.get_log_settings()["log_info"] is True
    changed = triton.update_log_settings({"log_verbose_level": 1})
    assert changed["log_verbose_level"] == 1
    assert triton.update_log_settings({"log_verbose_level": 0})["log_verbose_level"] == 0


def test_load_and_unload(triton: Any, own: tuple[Server, Path]) -> None:
    triton.unload_model("tiny")
    assert not triton.is_model_ready("tiny")
    (entry,) = triton.get_model_repository_index()
    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "unloaded")
    triton.load_model("tiny")
    assert triton.is_model_ready("tiny", "1")
    with pytest.raises(InferenceServerException, match="got 'nobody'"):
        triton.load_model("nobody")
    with pytest.raises(InferenceServerException, match="folder of models only"):
        triton.load_model("tiny", config="{}", files={"file:1/model.onnx": b"x"})
    bad = write_bundle(own[1], "bad", 1) / "model.onnx"
    bad.write_bytes(b"junk")
    with pytest.raises(InferenceServerException, match="failed to load 'bad', version 1"):
        triton.load_model("bad")


@asynccontextmanager
async def aio_client(server: Server) -> AsyncIterator[Any]:
    """The aio client, which advertises br, gzip and deflate everywhere."""
    client = aio.InferenceServerClient(server.address)
    try:
        yield client
    finally:
        await client.close()


async def _infer(client: Any, folder: Path) -> None:
    for rows in (1, 60):  # small, and large enough to be compressed
        for binary in (True, False):
            answer = await client.infer("tiny", [image_input(aio.InferInput, rows, binary)])
            np.testing.assert_array_equal(answer.as_numpy("scores"), scores(folder, rows))


async def _ask(client: Any, _: Path) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("tiny", "1")
    assert (await client.get_server_metadata())["name"] == "foldserve"
    assert (await client.get_model_metadata("tiny"))["versions"] == ["1"]
    assert (await client.get_model_config("tiny"))["name"] == "tiny"
    assert (await client.get_inference_statistics("tiny"))["model_stats"]
    assert await client.get_model_repository_index()
    with pytest.raises(InferenceServerException, match="got 'nobody'"):
        await client.get_model_metadata("nobody")


async def _many_at_once(client: Any, folder: Path) -> None:
    answers = await asyncio.gather(
        *(client.infer("tiny", [image_input(aio.InferInput, rows % 7 + 1)]) for rows in range(100))
    )
    for rows, answer in enumerate(answers):
        expected = scores(folder, rows % 7 + 1)
        np.testing.assert_array_equal(answer.as_numpy("scores"), expected)


@pytest.mark.parametrize("work", [_infer, _ask, _many_at_once])
def test_aio(
    own: tuple[Server, Path], work: Callable[[Any, Path], Coroutine[Any, Any, None]]
) -> None:
    async def run() -> None:
        async with aio_client(own[0]) as client:
            await work(client, own[1])

    asyncio.run(run())
