"""Networks with real weights see what is on real photographs: trained, folded, served."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from service.app import create_app
from service.preprocessing import picture_input
from service.settings import Settings
from tests.servers import serving
from tests.training.photographs import STATED, photographs
from training.bundle import Description, Written, write_bundle
from training.descriptions import (
    read_labels,
    read_preprocessing,
    write_labels,
    write_preprocessing,
)
from training.errors import UnusableInput
from training.export.weights import load_weights
from training.import_model import Request, import_model
from training.networks import build
from training.pretrained import PRETRAINED, fetch_weights, imagenet_labels, pretrained

CATS = {281, 282, 285}  # tabby, tiger, Egyptian: one cat, which the smaller network cannot decide
# What was stated of MobileNetV2: file and probability of the stated class. (The moped was stated
# with 0.69, for a middle that lies one pixel further to the left than torchvision's.)
MOBILENET = {
    "chelsea.png": 0.71,
    "coffee.png": 0.99,
    "china.jpg": 0.70,
    "motorcycle_left.png": 0.59,
}
LAYERS = {"mobilenet-v2": 52, "efficientnet-lite0": 49}


@dataclass(frozen=True, slots=True)
class Seen:
    """A network's bundle, what goes in, and the probabilities that PyTorch gives, [photo, 1000]."""

    name: str
    written: Written
    models: Path
    inputs: NDArray[np.float32]
    probabilities: NDArray[np.float32]


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """The photographs as their packages have them."""
    found = photographs()
    return {name: found[name] for name in STATED}


@pytest.fixture(scope="module", params=list(PRETRAINED))
def seen(
    request: pytest.FixtureRequest,
    pictures: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Seen:
    """Each network, exported with its weights and bundled with labels and preprocessing."""
    name, folder = request.param, tmp_path_factory.mktemp("pretrained")
    how = pretrained(name).preprocessing
    inputs = np.concatenate([picture_input(data, how, 10**6) for data in pictures.values()])
    network = build(name).eval()
    load_weights(network, fetch_weights(name))
    with torch.no_grad():
        probabilities = network(torch.from_numpy(inputs)).softmax(1).numpy()
    description = Description(
        name, preprocessing=how, labels=imagenet_labels(), output_activation="softmax"
    )
    model = import_model(Request(name, pretrained=True))
    written = write_bundle(model, description, folder, {"image": inputs})
    return Seen(name, written, folder, inputs, probabilities)


def _check(name: str, probabilities: NDArray[np.float32]) -> None:
    """The stated class is first; MobileNetV2 is as sure of it as was stated."""
    for (photograph, stated), row in zip(STATED.items(), probabilities, strict=True):
        accepted = CATS if stated in CATS and name != "mobilenet-v2" else {stated}
        assert int(row.argmax()) in accepted, photograph
        assert row[list(accepted)].sum() > 0.29
        if name == "mobilenet-v2":
            assert row[stated] == pytest.approx(MOBILENET[photograph], abs=0.01)


def test_the_network_sees_what_is_there(seen: Seen) -> None:
    _check(seen.name, seen.probabilities)


def test_the_folded_network_sees_the_same(seen: Seen) -> None:
    report = seen.written.fold.report
    assert [layer.rule for layer in report.layers] == ["conv"] * LAYERS[seen.name]
    session = onnxruntime.InferenceSession(seen.written.folder / "model.onnx")
    (logits,) = session.run(["logits"], {"image": seen.inputs})
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    got = powers / powers.sum(axis=1, keepdims=True)
    _check(seen.name, got)
    assert np.abs(got - seen.probabilities).max() < 1e-4


def test_the_service_names_what_is_there(seen: Seen, pictures: dict[str, bytes]) -> None:
    settings = Settings(models=seen.models)
    names = imagenet_labels()
    with serving(create_app(settings)) as client:
        for picture, row in zip(pictures.values(), seen.probabilities, strict=True):
            answer = client.post(
                f"/v2/models/{seen.name}/predict",
                content=picture,
            )
            assert answer.status_code == 200, answer.text
            first = answer.json()["predictions"][0]
            assert (first["index"], first["label"]) == (row.argmax(), names[row.argmax()])
            assert first["probability"] == pytest.approx(row.max(), abs=1e-4)


def test_the_classes_have_a_name_each() -> None:
    names = imagenet_labels()
    assert len(set(names)) == len(names) == 1000
    stated = [names[index] for index in STATED.values()]
    assert stated == ["Egyptian cat", "espresso", "palace", "moped"]


def test_labels_and_preprocessing_are_read_as_they_were_written(tmp_path: Path) -> None:
    labels = ("a cat", "crane (134)", "Bézier")
    write_labels(labels, tmp_path / "labels.txt")
    assert read_labels(tmp_path / "labels.txt") == labels
    for known in PRETRAINED.values():
        write_preprocessing(known.preprocessing, tmp_path / "how.toml")
        assert read_preprocessing(tmp_path / "how.toml") == known.preprocessing


def test_without_the_package_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UnusableInput, match=r"pip could not download .*with --weights"):
        import_model(Request("mobilenet-v2", pretrained=True))
    assert os.listdir(tmp_path) == []
