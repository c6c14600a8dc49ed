"""Bodies, methods and names beyond what a route takes, one by one."""

import io
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.test_preprocessing import encoded

MODEL = "/v2/models/same_fp64"
SAME = f"{MODEL}/infer"
PREDICT = "/v2/models/tiny/predict"


def test_a_body_of_unknown_length_is_stopped_at_the_limit(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 2**16

    answer = client.post(SAME, content=chunks())
    assert answer.status_code == 413
    assert "expected at most 1048576 bytes" in answer.json()["error"]


def test_an_announced_length_above_the_limit_is_refused_before_the_body(
    client: httpx.Client,
) -> None:
    connection = HTTPConnection(client.base_url.host, client.base_url.port, timeout=10)
    connection.putrequest("POST", SAME)
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_wrong_method_names_the_right_one(client: httpx.Client) -> None:
    answer = client.get(SAME)
    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})
    assert answer.headers["allow"] == "POST"


def test_unknown_layer_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/v2/models/tiny/normalization/classifier/7")
    assert answer.status_code == 404
    assert answer.json()["error"] == (
        "model 'tiny': expected one of the layers features.1; got 'classifier/7'"
    )


def test_a_form_is_kept_in_memory(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    noise = np.random.default_rng(0).integers(0, 256, (500, 550, 3), "u1")
    file = io.BytesIO(encoded(Image.fromarray(noise), "BMP"))
    answer = client.post(PREDICT, files={"file": ("noise.bmp", file)})
    assert answer.status_code == 200
