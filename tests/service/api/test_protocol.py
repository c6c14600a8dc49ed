"""Clauses of the V2 protocol and its extensions beside plain inference, one test each."""

import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest

from tests.service.api.requests import LENGTH, body, images, vector, with_binary
from tests.service.bundles import LABELS

SAME = "/v2/models/same_fp64/infer"
BYTES = "/v2/models/same_bytes/infer"
TINY = "/v2/models/tiny/versions/1"
TEXTS = ["a", "", "naïve ☃"]


def scores(models: Path, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What ONNX Runtime alone answers to `images(rows)`, [rows, 4]."""
    network = (models / "tiny" / "1" / "model.onnx").read_bytes()
    (answer,) = ort.InferenceSession(network).run(None, {"image": images(rows)})
    return np.asarray(answer)


def tiny_request(rows: int = 2, **output: object) -> bytes:
    """A request to `tiny` for its scores, with these parameters of the output."""
    x = images(rows)
    sent = {"name": "image", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return body(sent, outputs=[{"name": "scores", "parameters": output}])


def packed(texts: list[str]) -> bytes:
    """Elements of BYTES: length, then bytes."""
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


# BYTES


def test_bytes_as_json(client: httpx.Client) -> None:
    sent = vector(datatype="BYTES", data=TEXTS)
    output = client.post(BYTES, content=body(sent)).json()["outputs"][0]
    assert output == {"name": "y", "datatype": "BYTES", "shape": [1, 3], "data": TEXTS}


def test_bytes_as_binary_data(client: httpx.Client) -> None:
    data = packed(TEXTS)
    entry = vector(datatype="BYTES", data=..., parameters={"binary_data_size": len(data)})
    content, headers = with_binary(body(entry, parameters={"binary_data_output": True}), data)
    answer = client.post(BYTES, content=content, headers=headers)
    length = int(answer.headers[LENGTH])
    parameters = json.loads(answer.content[:length])["outputs"][0]["parameters"]
    assert parameters == {"binary_data_size": len(data)}
    assert answer.content[length:] == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed(TEXTS)[:-1], "element 2 goes beyond"),
        (packed(TEXTS) + b"\1", "element 3 goes beyond"),
        (packed(["a", "b"]), "expected 3 elements"),
        (struct.pack("<I", 2**32 - 1), "element 0 goes beyond"),
        (packed(["a", "b"]) + b"\1\0\0\0\xff", "expected UTF-8 text, got other bytes as element 2"),
    ],
)
def test_bytes_that_are_not_whole_are_refused(
    client: httpx.Client, data: bytes, words: str
) -> None:
    entry = vector(datatype="BYTES", data=..., parameters={"binary_data_size": len(data)})
    content, headers = with_binary(body(entry), data)
    answer = client.post(BYTES, content=content, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


# classification extension


@pytest.mark.parametrize("binary", [False, True])
def test_classes_are_sorted_and_labelled(client: httpx.Client, models: Path, binary: bool) -> None:
    content = tiny_request(2, classification=3, binary_data=binary)
    answer = client.post(f"{TINY}/infer", content=content)
    expected = [
        f"{row[i]:.6f}:{i}:{LABELS[i]}" for row in scores(models, 2) for i in np.argsort(-row)[:3]
    ]
    if binary:
        length = int(answer.headers[LENGTH])
        output = json.loads(answer.content[:length])["outputs"][0]
        assert answer.content[length:] == packed(expected)
    else:
        output = answer.json()["outputs"][0]
        assert output["data"] == expected
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 3])


def test_more_classes_than_there_are_answers_all(client: httpx.Client) -> None:
    answer = client.post(f"{TINY}/infer", content=tiny_request(1, classification=100))
    assert answer.json()["outputs"][0]["shape"] == [1, 4]


def test_classes_of_integers_without_labels(client: httpx.Client) -> None:
    wanted = [{"name": "y", "parameters": {"classification": 2}}]
    sent = vector(datatype="UINT64", data=[1, 2**64 - 1, 2**64 - 1])
    answer = client.post("/v2/models/same_uint64/infer", content=body(sent, outputs=wanted))
    assert answer.json()["outputs"][0]["data"] == [f"{2**64 - 1}:1", f"{2**64 - 1}:2"]


def test_classes_of_text_are_refused(client: httpx.Client) -> None:
    wanted = [{"name": "y", "parameters": {"classification": 2}}]
    answer = client.post(BYTES, content=body(vector(datatype="BYTES", data=TEXTS), outputs=wanted))
    assert answer.status_code == 400
    assert "which is for numbers" in answer.json()["error"]


# compression


@pytest.mark.parametrize("name", ["priority", "timeout"])
@pytest.mark.parametrize("value", [-1, 1.5, "1", True])
def test_priority_and_timeout_are_integers(client: httpx.Client, name: str, value: Any) -> None:
    answer = client.post(SAME, content=body(vector(), parameters={name: value}))
    assert answer.status_code == 400
    assert f"expected an integer of 0 or more as '{name}'" in answer.json()["error"]


def test_a_deadline_that_cannot_be_kept_is_504(client: httpx.Client) -> None:
    answer = client.post(SAME, content=body(vector(), parameters={"timeout": 1, "priority": 1}))
    # A microsecond is shorter than the way to the queue, where it is looked at first.
    assert answer.status_code in (200, 504)
    generous = client.post(SAME, content=body(vector(), parameters={"timeout": 10_000_000}))
    assert generous.status_code == 200


def test_integers_of_parameters_have_64_bits(client: httpx.Client) -> None:
    answer = client.post(SAME, content=body(vector(), parameters={"a": 2**63}))
    assert (answer.status_code, "beyond 64 bits" in answer.text) == (400, True)


# statistics and configuration extensions


def test_statistics_count_rows_and_runs(client: httpx.Client) -> None:
    def asked(path: str) -> dict[str, Any]:
        (entry,) = client.get(path).json()["model_stats"]
        return dict(entry)

    path = "/v2/models/sum/stats"
    before = asked(path)
    rows = [{"name": n, "datatype": "FP32", "shape": [4, 3], "data": [0] * 12} for n in "ab"]
    assert client.post("/v2/models/sum/infer", content=body(*rows)).status_code == 200
    after = asked("/v2/models/sum/versions/1/stats")
    assert after["inference_count"] - before["inference_count"] == 4
    assert after["execution_count"] - before["execution_count"] == 1
    success = after["inference_stats"]["success"]
    assert success["count"] - before["inference_stats"]["success"]["count"] == 1
    assert success["ns"] > before["inference_stats"]["success"]["ns"]
    assert 4 in [batch["batch_size"] for batch in after["batch_stats"]]
    every = client.get("/v2/models/stats").json()["model_stats"]
    assert {("tiny", "1"), ("tiny", "2"), ("sum", "1")} <= {
        (e["name"], e["version"]) for e in every
    }
    both = client.get("/v2/models/tiny/stats").json()["model_stats"]
    assert [entry["version"] for entry in both] == ["1", "2"]
    assert client.get("/v2/models/nope/stats").status_code == 404


def test_configuration_in_the_words_of_triton(client: httpx.Client) -> None:
    config = client.get("/v2/models/tiny/config").json()
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 8, 8]}]
    assert config["output"] == [{"name": "scores", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["max_batch_size"] >= 1
    assert config["version_policy"] == {"specific": {"versions": [1, 2]}}
    assert config["model_transaction_policy"] == {"decoupled": False}
    fixed = client.get("/v2/models/pair/versions/1/config").json()
    assert (fixed["max_batch_size"], fixed["input"][0]["dims"]) == (0, [2, 3])
    texts = client.get("/v2/models/same_bytes/config").json()
    assert texts["input"][0]["data_type"] == "TYPE_STRING"


# request ids


def test_the_id_of_a_request_is_returned_and_named_in_errors(client: httpx.Client) -> None:
    headers = {"x-request-id": "a-1"}
    good = client.post(SAME, content=body(vector()), headers=headers)
    assert good.headers["x-request-id"] == "a-1"
    for method, path in (("GET", "/v2/models/nope"), ("POST", SAME), ("GET", "/nowhere")):
        bad = client.request(method, path, headers=headers)
        assert bad.json()["error"].startswith("[request id: a-1] ")
        assert bad.headers["x-request-id"] == "a-1"
    in_body = client.post(SAME, content=body(vector(shape=[1]), id="b-2"))
    assert in_body.json()["error"].startswith("[request id: b-2] input 'x': ")


def test_without_an_id_the_server_makes_one(client: httpx.Client) -> None:
    first, second = (client.get("/v2").headers["x-request-id"] for _ in range(2))
    assert len(first) == 16
    assert first != second
    strange = client.get("/v2/models/nope", headers={"x-request-id": "a b"})
    assert strange.headers["x-request-id"] != "a b"
    assert "[request id" not in strange.text


# repositories


def test_named_repositories_are_not_supported(client: httpx.Client) -> None:
    for path in ("index", "models/tiny/load", "models/tiny/unload"):
        answer = client.post(f"/v2/repository/mine/{path}")
        assert (answer.status_code, "got 'mine'" in answer.json()["error"]) == (501, True)


def test_every_answer_forbids_guessing_its_type(client: httpx.Client) -> None:
    for path in ("/v2", "/v2/models/nope", "/docs", "/openapi.json"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff"
