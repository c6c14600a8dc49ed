"""The unmodified client of Triton against a real server, in JSON and in binary."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.servers import Server
from tests.service.api.requests import images

with warnings.catch_warnings():  # of its dependencies, on import
    warnings.simplefilter("ignore")
    from tritonclient import http
    from tritonclient.utils import InferenceServerException


@pytest.fixture
def triton(server: Server) -> Iterator[Any]:
    """A client of the server."""
    client = http.InferenceServerClient(server.address)
    yield client
    client.close()


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer(triton: Any, models: Path, binary_in: bool, binary_out: bool | None) -> None:
    x = images(3)
    sent = http.InferInput("image", x.shape, "FP32")
    sent.set_data_from_numpy(x, binary_data=binary_in)
    wanted = (
        None
        if binary_out is None
        else [http.InferRequestedOutput("scores", binary_data=binary_out)]
    )
    answer = triton.infer("tiny", [sent], outputs=wanted, request_id="7", model_version="1")
    network = (models / "tiny" / "1" / "model.onnx").read_bytes()
    (expected,) = ort.InferenceSession(network).run(None, {"image": x})
    np.testing.assert_array_equal(answer.as_numpy("scores"), expected)
    assert answer.get_response()["id"] == "7"


def test_questions(triton: Any) -> None:
    assert triton.is_server_live()
    assert not triton.is_server_ready()  # one model is broken
    assert triton.is_model_ready("tiny")
    assert triton.is_model_ready("tiny", "1")
    assert not triton.is_model_ready("broken")
    assert triton.get_server_metadata()["name"] == "foldserve"
    assert triton.get_model_metadata("tiny")["inputs"][0]["shape"] == [-1, 3, 8, 8]
    index = {entry["name"]: entry["state"] for entry in triton.get_model_repository_index()}
    assert (index["tiny"], index["broken"]) == ("READY", "UNAVAILABLE")


def test_errors_reach_the_caller_as_sentences(triton: Any) -> None:
    sent = http.InferInput("image", [1, 3], "FP32")
    sent.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with pytest.raises(InferenceServerException, match=r"expected shape \[-1, 3, 8, 8\]"):
        triton.infer("tiny", [sent])
    with pytest.raises(InferenceServerException, match="got 'nope'"):
        triton.get_model_metadata("nope")


def test_a_nan_that_the_client_sends_is_named(triton: Any) -> None:
    x = images()
    x[0, 1, 2, 3] = np.nan
    for binary in (True, False):
        sent = http.InferInput("image", x.shape, "FP32")
        sent.set_data_from_numpy(x, binary_data=binary)
        with pytest.raises(InferenceServerException, match=r"got nan at \[0, 1, 2, 3\]"):
            triton.infer("tiny", [sent])
