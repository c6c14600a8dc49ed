"""The friendly door, against Pillow, NumPy and ONNX Runtime without the service."""

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.api.predictions import softmax
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


def test_several_pictures_are_one_batch(client: httpx.Client, models: Path) -> None:
    shots = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    files = [encoded(Image.fromarray(shot)) for shot in shots]
    wanted = expected(models, np.concatenate([normalized(shot) for shot in shots]))

    def runs() -> int:
        (entry,) = client.get("/v2/models/tiny/versions/2/stats").json()["model_stats"]
        return int(entry["execution_count"])

    before = runs()
    form = client.post(PATH, files=[("file", (f"{i}.png", f)) for i, f in enumerate(files)])
    assert form.json()["predictions"] == wanted
    instances = [{"b64": base64.b64encode(file).decode()} for file in files]
    as_json = client.post(PATH, json={"instances": instances})
    assert as_json.json()["predictions"] == wanted
    assert runs() - before == 2


def test_the_best_classes_of_each_row(client: httpx.Client, models: Path) -> None:
    x = images(2)
    rows = probabilities(models, x)
    instances = x.tolist()
    for asked in (
        client.post(PATH, json={"instances": instances, "top_k": 3}),
        client.post(f"{PATH}?top_k=3", json={"instances": instances}),
    ):
        for best, row in zip(asked.json()["predictions"], rows, strict=True):
            order = np.argsort(-row)[:3]
            assert [one["index"] for one in best] == order.tolist()
            assert [one["label"] for one in best] == [LABELS[i] for i in order]
            assert [one["probability"] for one in best] == pytest.approx(row[order], rel=1e-12)
    every = client.post(f"{PATH}?top_k=1000", json={"instances": instances}).json()
    assert [len(best) for best in every["predictions"]] == [4, 4]


@pytest.mark.parametrize("top_k", ["0", "-1", "1001", "x", "1.5", "99999999", "²"])
def test_top_k_is_a_small_positive_integer(client: httpx.Client, top_k: str) -> None:
    answer = client.post(PATH, params={"top_k": top_k}, content=b"")
    assert answer.status_code == 400
    assert "'top_k': expected an integer from 1 to 1000" in answer.json()["error"]


@pytest.mark.parametrize(
    ("instances", "status", "words"),
    [
        ([{"b64": "!"}], 400, "expected base64 at 0"),
        ([{"b64": "aGVsbG8="}], 400, "expected one of PNG"),
        ([{"b64": 1}], 400, "text 'b64' at 0"),
        ([{"b64": ""}], 400, "empty body"),
        ([{"b64": "aA=="}, [1]], 400, "text 'b64' at 1"),
        ([{"b64": "aA=="}] * 257, 413, "at most 256 pictures, got 257"),
    ],
)
def test_pictures_in_json_that_are_none(
    client: httpx.Client, instances: list[Any], status: int, words: str
) -> None:
    answer = client.post(PATH, json={"instances": instances})
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_too_many_files_are_refused(client: httpx.Client) -> None:
    answer = client.post(PATH, files=[("file", ("x", b"x"))] * 257)
    assert (answer.status_code, "1 to 256 files" in answer.json()["error"]) == (400, True)


def test_top_k_without_labels_is_refused(client: httpx.Client) -> None:
    answer = client.post(
        "/v2/models/same_fp64/predict", json={"instances": [[1, 2, 3]], "top_k": 2}
    )
    assert (answer.status_code, "has no labels" in answer.json()["error"]) == (400, True)


def test_text_goes_in_and_out(client: httpx.Client) -> None:
    rows = [["a", "b", "ü"], ["", "x", "y"]]
    answer = client.post("/v2/models/same_bytes/predict", json={"instances": rows})
    assert answer.json()["predictions"] == rows


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
    error = "the network's output is not finite"  # its bundle has no baseline, and so no layer
    assert answer.json()["predictions"] == [{**nothing, "error": error}]
    assert answer.json()["parameters"].keys() == {"nonfinite_count"}


def test_softmax_of_large_scores_does_not_overflow() -> None:
    scores = np.array([[1000.0, 999.0], [-1e300, 1e300], [0.0, 0.0]])
    ratio = np.exp(-1.0)
    wanted = [[1 / (1 + ratio), ratio / (1 + ratio)], [0, 1], [0.5, 0.5]]
    np.testing.assert_allclose(softmax(scores), wanted, rtol=1e-15)
