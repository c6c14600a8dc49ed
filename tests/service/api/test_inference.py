"""Open Inference Protocol V2, clause by clause, against ONNX Runtime itself."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest

from service import __version__
from tests.service.api.requests import LENGTH, body, images, vector, with_binary


@pytest.fixture(scope="module")
def session(models: Path) -> ort.InferenceSession:
    """The network of tiny/2, the latest version, without the service."""
    return ort.InferenceSession((models / "tiny" / "2" / "model.onnx").read_bytes())


def image_input(array: np.ndarray[Any, Any], data: object) -> dict[str, object]:
    """The input of `tiny` with this data."""
    return {"name": "image", "datatype": "FP32", "shape": list(array.shape), "data": data}


def test_server_metadata(client: httpx.Client) -> None:
    answer = client.get("/v2")
    assert answer.json() == {
        "name": "foldserve",
        "version": __version__,
        "extensions": [
            "classification",
            "model_repository",
            "model_repository(unload_dependents)",
            "schedule_policy",
            "model_configuration",
            "binary_tensor_data",
            "statistics",
            "logging",
        ],
    }
    assert answer.headers["content-type"] == "application/json"
    assert "server" not in answer.headers or answer.headers["server"] == "uvicorn"


def test_alive_but_not_ready_beside_a_model_without_a_good_version(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    answer = client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert list(answer.json()) == ["error"]


def test_models_are_those_that_can_answer(client: httpx.Client) -> None:
    names = client.get("/v2/models").json()["models"]
    assert "tiny" in names
    assert "broken" not in names


def test_model_metadata_with_and_without_version(client: httpx.Client) -> None:
    expected = {
        "name": "tiny",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}],
    }
    assert client.get("/v2/models/tiny").json() == expected
    assert client.get("/v2/models/tiny/versions/1").json() == expected | {"versions": ["1"]}


def test_model_ready(client: httpx.Client) -> None:
    for path in ("/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
        assert client.get(path).json() == {"name": "tiny", "ready": True}
    answer = client.get("/v2/models/broken/ready")
    assert answer.status_code == 503
    assert "model.onnx: expected" in answer.json()["error"]


@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize("nested", [True, False])
def test_infer_in_json_is_exact(
    client: httpx.Client, session: ort.InferenceSession, rows: int, nested: bool
) -> None:
    x = images(rows)
    data = x.tolist() if nested else x.ravel().tolist()
    answer = client.post("/v2/models/tiny/infer", content=body(image_input(x, data), id="abc"))
    (expected,) = session.run(None, {"image": x})
    document = answer.json()
    (output,) = document.pop("outputs")
    assert document == {"model_name": "tiny", "model_version": "2", "id": "abc"}
    assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [rows, 4])
    np.testing.assert_array_equal(np.array(output["data"], np.float32).reshape(rows, 4), expected)
    assert answer.headers["content-type"] == "application/json"
    assert LENGTH not in answer.headers


def test_version_in_the_path_is_the_version_that_answers(client: httpx.Client) -> None:
    request = body(image_input(images(), images().tolist()))
    answers = [
        client.post(f"/v2/models/tiny/versions/{version}/infer", content=request).json()
        for version in (1, 2)
    ]
    assert [answer["model_version"] for answer in answers] == ["1", "2"]
    assert answers[0]["outputs"] != answers[1]["outputs"]


def test_binary_both_ways(client: httpx.Client, session: ort.InferenceSession) -> None:
    x = images(2)
    sent = image_input(x, None) | {"parameters": {"binary_data_size": x.nbytes}}
    del sent["data"]
    head = body(sent, parameters={"binary_data_output": True})
    for padding in range(4):  # the tensor begins at any alignment
        content, headers = with_binary(head + b" " * padding, x.tobytes())
        answer = client.post("/v2/models/tiny/infer", content=content, headers=headers)
        length = int(answer.headers[LENGTH])
        document = json.loads(answer.content[:length])
        (expected,) = session.run(None, {"image": x})
        assert answer.headers["content-type"] == "application/octet-stream"
        assert document["outputs"] == [
            {
                "name": "scores",
                "datatype": "FP32",
                "shape": [2, 4],
                "parameters": {"binary_data_size": expected.nbytes},
            }
        ]
        assert answer.content[length:] == expected.tobytes()


def test_several_binary_inputs_are_taken_in_order(client: httpx.Client) -> None:
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[10, 20, 30]], np.float32)
    inputs = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": [1, 3],
            "parameters": {"binary_data_size": 12},
        }
        for name in ("b", "a")
    ]
    content, headers = with_binary(body(*inputs), b.tobytes(), a.tobytes())
    answer = client.post("/v2/models/sum/infer", content=content, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [11, 22, 33]


def test_raw_request(client: httpx.Client, session: ort.InferenceSession) -> None:
    x = images()
    answer = client.post("/v2/models/tiny/infer", content=x.tobytes(), headers={LENGTH: "0"})
    length = int(answer.headers[LENGTH])
    (expected,) = session.run(None, {"image": x})
    assert answer.content[length:] == expected.tobytes()


def test_raw_request_finds_the_size_of_one_free_dimension(client: httpx.Client) -> None:
    x = np.array([1, 1, 1, 1, 1], np.float32)
    answer = client.post("/v2/models/logarithm/infer", content=x.tobytes(), headers={LENGTH: "0"})
    length = int(answer.headers[LENGTH])
    assert json.loads(answer.content[:length])["outputs"][0]["shape"] == [1, 5]


@pytest.mark.parametrize(
    ("for_all", "for_one", "binary"),
    [(None, None, False), (True, None, True), (True, False, False), (False, True, True)],
)
def test_output_parameter_overrides_request_parameter(
    client: httpx.Client, for_all: bool | None, for_one: bool | None, binary: bool
) -> None:
    one: dict[str, object] = {"name": "y"}
    if for_one is not None:
        one["parameters"] = {"binary_data": for_one}
    parameters = {} if for_all is None else {"binary_data_output": for_all}
    answer = client.post(
        "/v2/models/same_fp64/infer", content=body(vector(), outputs=[one], parameters=parameters)
    )
    assert (LENGTH in answer.headers) == binary


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("FP64", [1.5, -2, 1e300]),
        ("FP16", [1.5, -2, 65504]),
        ("INT64", [-(2**63), 0, 2**63 - 1]),
        ("INT8", [-128, 0, 127]),
        ("UINT8", [0, 1, 255]),
        ("UINT64", [0, 1, 2**64 - 1]),
        ("BOOL", [True, False, True]),
    ],
)
def test_every_datatype_there_and_back(
    client: httpx.Client, datatype: str, values: list[Any]
) -> None:
    answer = client.post(
        f"/v2/models/same_{datatype.lower()}/infer",
        content=body(vector(datatype=datatype, data=values)),
    )
    assert answer.json()["outputs"][0]["data"] == values
    assert answer.json()["outputs"][0]["datatype"] == datatype


def test_nonfinite_answers_are_null_and_counted_in_json_and_exact_in_binary(
    client: httpx.Client,
) -> None:
    x = np.array([[1, 0, -1]], np.float32)  # logarithms: 0, -∞, NaN
    sent = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": x.tolist()}
    answer = client.post("/v2/models/logarithm/infer", content=body(sent)).json()
    assert answer["outputs"][0]["data"] == [0, None, None]
    assert answer["parameters"] == {"nonfinite_count": 2}
    binary = client.post(
        "/v2/models/logarithm/infer",
        content=body(sent, parameters={"binary_data_output": True}),
    )
    values = np.frombuffer(binary.content[int(binary.headers[LENGTH]) :], "<f4")
    np.testing.assert_array_equal(values, np.array([0, -np.inf, np.nan], np.float32))


def test_unknown_keys_and_foreign_parameters_are_ignored(client: httpx.Client) -> None:
    request = body(
        vector(comment="x"),
        model_name="other",
        parameters={"priority": 1, "note": "x", "flag": True, "f": 0.5},
    )
    assert client.post("/v2/models/same_fp64/infer", content=request).status_code == 200


def test_content_type_of_a_request_decides_nothing(client: httpx.Client) -> None:
    for kind in ("application/octet-stream", "text/plain", "application/json"):
        answer = client.post(
            "/v2/models/same_fp64/infer", content=body(vector()), headers={"content-type": kind}
        )
        assert answer.status_code == 200


def test_a_row_has_the_same_bits_in_any_company(client: httpx.Client) -> None:
    x = images(20)
    alone = client.post("/v2/models/tiny/infer", content=body(image_input(x[:1], x[:1].tolist())))
    x[1:] *= 1000
    beside = client.post("/v2/models/tiny/infer", content=body(image_input(x, x.tolist())))
    assert alone.json()["outputs"][0]["data"] == beside.json()["outputs"][0]["data"][:4]
