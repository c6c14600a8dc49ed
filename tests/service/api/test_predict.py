"""The friendly door, against Pillow, NumPy and ONNX Runtime without the service."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.api.routes.predict import softmax
from tests.servers import serving
from tests.service.api.requests import images
from tests.service.bundles import LABELS, MEAN, STD, write_bundle
from tests.service.test_preprocessing import encoded

PATH = "/v2/models/tiny/predict"


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """A picture of the right size."""
    return np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def probabilities(models: Path, x: NDArray[np.float32], version: int = 2) -> NDArray[Any]:
    """Softmax of the network's answer, from the definition."""
    network = (models / "tiny" / str(version) / "model.onnx").read_bytes()
    (scores,) = ort.InferenceSession(network).run(None, {"image": x})
    powers = np.exp(scores.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def normalized(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the manifest's preprocessing makes of the picture."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    x = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def expected(models: Path, x: NDArray[np.float32], version: int = 2) -> list[dict[str, object]]:
    """The best class of each row."""
    rows = probabilities(models, x, version)
    return [
        {"label": LABELS[i], "index": int(i), "probability": pytest.approx(row[i], rel=1e-12)}
        for row, i in zip(rows, rows.argmax(axis=1), strict=True)
    ]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "text/plain", None])
def test_a_picture_as_body(
    client: httpx.Client, models: Path, pixels: NDArray[np.uint8], kind: str | None
) -> None:
    answer = client.post(
        PATH,
        content=encoded(Image.fromarray(pixels)),
        headers={"content-type": kind} if kind else {},
    )
    assert answer.json() == {
        "model_name": "tiny",
        "model_version": "2",
        "predictions": expected(models, normalized(pixels)),
    }


def test_a_picture_in_a_form(client: httpx.Client, models: Path, pixels: NDArray[np.uint8]) -> None:
    files = {"file": ("picture.png", encoded(Image.fromarray(pixels)), "image/png")}
    answer = client.post(PATH, files=files)
    assert answer.json()["predictions"] == expected(models, normalized(pixels))


def test_instances_go_in_as_they_are(client: httpx.Client, models: Path) -> None:
    x = images(3)
    for instances in (x.tolist(), [{"image": row.tolist()} for row in x]):
        answer = client.post(PATH, json={"instances": instances})
        assert answer.json()["predictions"] == expected(models, x)


def test_the_version_in_the_path_answers(client: httpx.Client, models: Path) -> None:
    x = images(2)
    answer = client.post("/v2/models/tiny/versions/1/predict", json={"instances": x.tolist()})
    assert answer.json()["model_version"] == "1"
    assert answer.json()["predictions"] == expected(models, x, version=1)


def test_without_labels_the_outputs_are_plain(client: httpx.Client) -> None:
    answer = client.post(
        "/v2/models/sum/predict",
        json={"instances": [{"a": [1, 2, 3], "b": [0.5, 0, 0]}, {"a": [0, 0, 0], "b": [1, 1, 1]}]},
    )
    assert answer.json()["predictions"] == [[1.5, 2, 3], [1, 1, 1]]


def test_scores_that_are_probabilities_already_are_left_alone(
    client: httpx.Client, tmp_path: Path
) -> None:
    from service.app import create_app
    from service.settings import Settings

    write_bundle(tmp_path, output_activation="none")
    with serving(create_app(Settings(models=tmp_path, threads=1))) as own:
        x = images()
        inputs = [{"name": "image", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": x.tolist()}]
        scores = own.post("/v2/models/tiny/infer", json={"inputs": inputs}).json()["outputs"]
        (best,) = own.post(PATH, json={"instances": x.tolist()}).json()["predictions"]
    assert best["probability"] == pytest.approx(max(scores[0]["data"]), rel=1e-7)


def test_a_row_that_is_not_finite_has_no_label(client: httpx.Client) -> None:
    x = np.full((1, 3, 8, 8), 3e38, np.float32)  # finite itself, but its products are not
    answer = client.post(PATH, json={"instances": x.tolist()})
    nothing = {"label": None, "index": None, "probability": None}
    assert answer.json()["predictions"] == [nothing]


def test_softmax_of_large_scores_does_not_overflow() -> None:
    scores = np.array([[1000.0, 999.0], [-1e300, 1e300], [0.0, 0.0]])
    ratio = np.exp(-1.0)
    wanted = [[1 / (1 + ratio), ratio / (1 + ratio)], [0, 1], [0.5, 0.5]]
    np.testing.assert_allclose(softmax(scores), wanted, rtol=1e-15)
