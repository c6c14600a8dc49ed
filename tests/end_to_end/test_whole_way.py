"""The whole way on real data: train, fold, bundle, serve, and ask over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import torch
import tritonclient.http
from numpy.typing import NDArray
from PIL import Image

from service.bundle import open_bundle
from service.manifest import PROBE
from tests.servers import start
from training import pipeline
from training.checkpoint import Checkpoint
from training.data import Dataset
from training.evaluation import as_tensor, standardize

Logits = NDArray[np.float32]

ROWS = 17
# Relative to the largest logit, as for every fold and export.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def models(short_run: Checkpoint, mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle of a short training."""
    folder = tmp_path_factory.mktemp("models")
    pipeline.bundle_run(short_run, mnist, folder)
    return folder


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    """A real server over that folder, in a process of its own, stopped by SIGTERM at the end."""
    server = start("--models", str(models))
    yield f"http://{server.address}"
    status, errors = server.stop()
    assert status == 0, errors


@pytest.fixture(scope="module")
def images(mnist: Dataset) -> torch.Tensor:
    """Test digits as the network takes them."""
    return standardize(as_tensor(mnist.test_images[:ROWS]).float() / 255, mnist.source)


@pytest.fixture(scope="module")
def expected(short_run: Checkpoint, images: torch.Tensor) -> Logits:
    """PyTorch's own answer, in eval mode, with the population statistics frozen."""
    network, _ = pipeline.frozen_network(short_run, "population")
    with torch.inference_mode():
        answer: Logits = network(images).numpy()
    return answer


def _infer(url: str, rows: torch.Tensor) -> Logits:
    """The answer of an unmodified V2 client, over binary tensors."""
    with tritonclient.http.InferenceServerClient(url.removeprefix("http://")) as client:
        tensor = tritonclient.http.InferInput("image", list(rows.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(rows.numpy()))
        answer: Logits
        answer = client.infer("mnist-cnn", [tensor]).as_numpy("logits")
        return answer


def test_the_served_answer_is_pytorchs(url: str, images: torch.Tensor, expected: Logits) -> None:
    got = _infer(url, images)
    assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_an_answer_is_the_same_bits_alone_and_inside_a_batch(
    url: str, images: torch.Tensor
) -> None:
    together = _infer(url, images)
    for row in range(ROWS):
        assert _infer(url, images[row : row + 1]).tobytes() == together[row].tobytes()


def test_json_and_binary_tensors_are_the_same_answer(url: str, images: torch.Tensor) -> None:
    body = {
        "inputs": [
            {
                "name": "image",
                "shape": list(images.shape),
                "datatype": "FP32",
                "data": images.tolist(),
            }
        ]
    }
    answer = httpx.post(f"{url}/v2/models/mnist-cnn/infer", json=body).raise_for_status().json()
    (output,) = answer["outputs"]
    got = np.array(output["data"], np.float32).reshape(output["shape"])
    assert got.tobytes() == _infer(url, images).tobytes()


def test_pictures_reach_the_network_exactly_as_in_training(
    url: str,
    mnist: Dataset,
    expected: Logits,
    tmp_path: Path,
) -> None:
    for row in range(5):
        Image.fromarray(mnist.test_images[row]).save(tmp_path / "digit.png")
        body = (tmp_path / "digit.png").read_bytes()
        answer = httpx.post(f"{url}/v2/models/mnist-cnn/predict", files={"file": body})
        (prediction,) = answer.raise_for_status().json()["predictions"]
        exact = expected[row].astype(np.float64)
        probability = np.exp(exact - exact.max()) / np.exp(exact - exact.max()).sum()
        assert prediction["index"] == int(exact.argmax())
        assert prediction["label"] == str(exact.argmax())
        assert prediction["probability"] == pytest.approx(probability.max(), rel=1e-4)


def test_the_layers_are_reported_as_the_training_left_them(url: str, short_run: Checkpoint) -> None:
    place = f"{url}/v2/models/mnist-cnn/normalization"
    report = httpx.get(place).raise_for_status().json()
    assert [layer["name"] for layer in report["layers"]] == list(short_run.population)
    for checks in report["checks"].values():
        assert all(check["passed"] for check in checks.values())
    layer = httpx.get(f"{place}/features.4").raise_for_status().json()
    assert layer["statistics"] == "population"
    frozen = np.array(layer["frozen"]["mean"], np.float32)
    assert np.array_equal(frozen, short_run.population["features.4"]["mean"].numpy())
    moving = np.array(layer["moving"]["var"], np.float32)
    assert np.array_equal(moving, short_run.model["features.4.running_var"].numpy())


def test_the_probe_sees_each_layer_as_pytorch_does(
    models: Path, short_run: Checkpoint, images: torch.Tensor
) -> None:
    network, _ = pipeline.frozen_network(short_run, "population")
    seen: dict[str, torch.Tensor] = {}
    for name in short_run.population:
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.clone()})
        )
    with torch.inference_mode():
        network(images)
    bundle = open_bundle(models / "mnist-cnn" / "1")
    session = onnxruntime.InferenceSession(bundle.read(PROBE))
    for layer in bundle.layers:
        assert layer.probe is not None
        names = [layer.probe.mean, layer.probe.mean_square]
        mean, square = session.run(names, {"image": np.ascontiguousarray(images.numpy())})
        normalized = seen[layer.name].double()
        spread = float(normalized.square().mean().sqrt())
        np.testing.assert_allclose(mean, normalized.mean((2, 3)), rtol=1e-4, atol=1e-5 * spread)
        np.testing.assert_allclose(
            square, normalized.square().mean((2, 3)), rtol=1e-4, atol=1e-5 * spread**2
        )
