"""tritonclient.grpc, unmodified, in an environment of its own (skipped until `make clients`)."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from tests.servers import poll, start
from tests.service.bundles import elementwise, tensor, write_plain

PYTHON = Path(__file__).resolve().parents[2] / ".venv-kserve" / "bin" / "python"
KEY = "an-admin-key"
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="make clients makes .venv-kserve")


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module", params=["1", "2"])
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the client was answered, by one worker and by one of two."""
    folder, port = tmp_path_factory.mktemp("models"), free_port()
    both = [tensor(name, "FP32", [-1, 3]) for name in ("x", "y")]
    write_plain(folder, "negative", elementwise("Neg"), both[:1], both[1:])
    both = [tensor(name, "BYTES", [-1, 3]) for name in ("x", "y")]
    write_plain(folder, "texts", elementwise("Identity", TensorProto.STRING), both[:1], both[1:])
    server = start(
        "--models",
        str(folder),
        "--workers",
        request.param,
        FOLDSERVE_THREADS="1",
        FOLDSERVE_GRPC_PORT=str(port),
        FOLDSERVE_API_KEYS="an-api-key",
        FOLDSERVE_ADMIN_KEYS=KEY,
    )

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    poll(listens, "gRPC")
    program = Path(__file__).with_name("ask_grpc.py")
    done = subprocess.run(
        [PYTHON, program, f"127.0.0.1:{port}", KEY], capture_output=True, text=True, timeout=120
    )
    status, errors = server.stop()
    assert done.returncode == 0, done.stderr
    assert status == 0, errors
    assert "Traceback" not in errors
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_questions(found: dict[str, Any]) -> None:
    assert [found[name] for name in ("live", "ready", "model_ready")] == [True, True, True]
    assert found["nobody_ready"] is False
    assert found["metadata"]["name"] == "foldserve"
    assert "statistics" in found["metadata"]["extensions"]
    assert found["model"]["platform"] == "onnxruntime_onnx"
    assert found["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}]
    assert {entry["name"]: entry["state"] for entry in found["index"]["models"]} == {
        "negative": "READY",
        "texts": "READY",
    }


def test_inference(found: dict[str, Any]) -> None:
    assert found["infer"] == ["7", [[-1, -2, -3], [-4, -5, -6]]]
    assert found["contents"] == [-1, -2, -3]
    assert found["texts"] == ["a", "", "naïve ☃"]
    assert found["classes"] == ["-1.000000:0", "-2.000000:1", "-4.000000:0", "-5.000000:1"]


def test_statistics(found: dict[str, Any]) -> None:
    (entry,) = found["statistics"]["model_stats"]
    assert int(entry["inference_count"]) == 5  # two rows, one, two
    assert int(entry["inference_stats"]["success"]["count"]) == 3
    assert sum(int(batch["batch_size"]) for batch in entry["batch_stats"]) == 3


def test_refusals_have_the_sentence_and_the_code(found: dict[str, Any]) -> None:
    def refused(name: str, code: str, words: str) -> None:
        status, sentence = found[name]
        assert status == f"StatusCode.{code}", found[name]
        assert words in sentence

    refused("no_key", "UNAUTHENTICATED", "key: expected one")
    refused("nobody", "NOT_FOUND", "got 'nobody'")
    refused("shape", "INVALID_ARGUMENT", "[request id: 9] input 'x': expected shape [-1, 3]")
    refused("load", "NOT_FOUND", "got 'nobody'")
    refused("log", "UNIMPLEMENTED", "")


def test_load_and_unload(found: dict[str, Any]) -> None:
    assert (found["unloaded"], found["loaded"]) == (False, True)
