"""KServe's client and `mlserver infer`, unmodified, each in an environment of its own.

They are skipped where `make clients` has not made the environments.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, start
from tests.service.bundles import elementwise, tensor, write_plain

ROOT = Path(__file__).resolve().parents[2]
KSERVE = ROOT / ".venv-kserve" / "bin" / "python"
MLSERVER = ROOT / ".venv-mlserver" / "bin" / "mlserver"
X = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
NEGATIVE = [[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with one model, y = -x."""
    folder = tmp_path_factory.mktemp("models")
    both = [tensor(name, "FP32", [-1, 3]) for name in ("x", "y")]
    write_plain(folder, "negative", elementwise("Neg"), both[:1], both[1:])
    started = start("--models", str(folder), FOLDSERVE_THREADS="1")
    yield started
    status, errors = started.stop()
    assert status == 0
    assert "Traceback" not in errors


def run(*command: object) -> str:
    """Standard output of a client that has to succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not KSERVE.exists(), reason="make clients makes .venv-kserve")
def test_kserve_rest_client(server: Server) -> None:
    program = Path(__file__).with_name("ask_kserve.py")
    found: dict[str, Any] = json.loads(run(KSERVE, program, f"http://{server.address}"))
    assert [found[name] for name in ("live", "ready", "model_ready")] == [True, True, True]
    assert found["infer_False"] == ["id-False", NEGATIVE]
    assert found["infer_True"] == ["id-True", NEGATIVE]
    status, sentence = found["error"]
    assert status == 404
    assert sentence.startswith("model: expected one of negative; got 'nobody'")


@pytest.mark.skipif(not MLSERVER.exists(), reason="make clients makes .venv-mlserver")
@pytest.mark.parametrize("flags", [[], ["--binary-data"], ["--batch-size", "2"]])
def test_mlserver_infer(server: Server, tmp_path: Path, flags: list[str]) -> None:
    lines = [
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": row}]} for row in X
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out.jsonl"
    run(
        *(MLSERVER, "infer", "--url", server.address, "--model-name", "negative"),
        *("--input-data-path", tmp_path / "in.jsonl", "--output-data-path", out, *flags),
    )
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    answers.sort(key=lambda answer: answer["parameters"]["batch_index"])
    data = [output["data"] for answer in answers for output in answer["outputs"]]
    assert data == NEGATIVE
