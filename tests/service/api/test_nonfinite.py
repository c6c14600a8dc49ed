"""The layer in which a NaN began is named, at a bounded price."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.app import create_app
from service.bundle import open_bundle
from service.settings import Settings
from service.watch import Watcher, WatchLimits
from tests.servers import serving
from tests.service.watched import LAYERS, NAME, images, write_watched

ROUTE = f"/v2/models/{NAME}"
# Finite itself, but no longer after a few layers.
LARGE = 1e37


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("nonfinite"))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app(Settings(models=folder.parent.parent, threads=1))) as client:
        yield client


def _rows(*factors: float) -> NDArray[np.float32]:
    rows = images(len(factors), 1)
    rows *= np.array(factors, np.float32)[:, None, None, None]
    return rows


def _infer(client: httpx.Client, rows: NDArray[np.float32], **parameters: Any) -> httpx.Response:
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "data": rows.tolist()}
    return client.post(f"{ROUTE}/infer", json={"inputs": [tensor], "parameters": parameters})


def test_the_layer_is_in_the_parameters(client: httpx.Client, folder: Path) -> None:
    """The oracle is the probe network on the row alone."""
    watcher = Watcher(WatchLimits(), start=False)
    watch = watcher.watch(open_bundle(folder))
    assert watch is not None
    expected = watch.first_nonfinite({"image": _rows(LARGE)})
    assert expected in LAYERS
    answer = _infer(client, _rows(1, LARGE, 1)).json()
    nulls = answer["outputs"][0]["data"].count(None)
    assert nulls > 0
    assert answer["parameters"] == {"nonfinite_count": nulls, "nonfinite_layer": expected}


def test_it_is_in_binary_answers_too(client: httpx.Client) -> None:
    answer = _infer(client, _rows(LARGE), binary_data_output=True)
    head = answer.content[: int(answer.headers["Inference-Header-Content-Length"])]
    assert b'"nonfinite_layer":"' in head


def test_finite_answers_have_none(client: httpx.Client) -> None:
    assert "parameters" not in _infer(client, _rows(1, 1)).json()
    assert (
        "parameters"
        not in client.post(f"{ROUTE}/predict", json={"instances": _rows(1).tolist()}).json()
    )


def test_predict_says_it_too(client: httpx.Client) -> None:
    answer = client.post(f"{ROUTE}/predict", json={"instances": _rows(1, LARGE).tolist()}).json()
    assert answer["parameters"]["nonfinite_layer"] in LAYERS
    finite, other = answer["predictions"]
    assert None not in finite
    assert None in other


def test_without_a_watch_it_is_only_counted(folder: Path) -> None:
    settings = Settings(models=folder.parent.parent, threads=1, drift_sample=0)
    with serving(create_app(settings)) as client:
        assert _infer(client, _rows(LARGE)).json()["parameters"].keys() == {"nonfinite_count"}


def test_searches_are_within_a_budget_and_one_at_a_time(folder: Path) -> None:
    watcher = Watcher(WatchLimits(budget=1e-9), start=False)
    watch = watcher.watch(open_bundle(folder))
    assert watch is not None
    rows = {"image": np.repeat(_rows(LARGE), 4000, axis=0)}
    assert watch.search_nonfinite(rows) is not None  # of thousands of rows, a few are run
    with watch._searching:
        assert watch.search_nonfinite(rows) is None
    watcher.searches._credit = -1e-6
    assert watch.search_nonfinite(rows) is None


def test_grpc_has_the_same_parameters(folder: Path) -> None:
    """Beside the bits themselves; a finite answer has none."""
    grpc = pytest.importorskip("grpc")
    from service.api.protobuf import open_inference_pb2 as pb

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = Settings(models=folder.parent.parent, threads=1, grpc_port=port)
    found = []
    with serving(create_app(settings)) as client, grpc.insecure_channel(f"127.0.0.1:{port}") as way:
        infer = way.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        for rows in (_rows(1, LARGE), _rows(1)):
            request = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[rows.tobytes()])
            request.inputs.add(name="image", datatype="FP32", shape=rows.shape)
            found.append(infer(request, timeout=30))
        over_http = _infer(client, _rows(1, LARGE)).json()["parameters"]
    values = np.frombuffer(found[0].raw_output_contents[0], np.float32)
    given = {
        name: value.int64_param or value.string_param for name, value in found[0].parameters.items()
    }
    assert given == over_http
    assert given["nonfinite_count"] == np.count_nonzero(~np.isfinite(values))
    assert given["nonfinite_layer"] in LAYERS
    assert not found[1].parameters
