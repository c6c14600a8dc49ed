"""The signatures of known changes as a bundle holds them, and what damaged ones are called."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from service.bundle import open_bundle
from service.drift.changes import WORDS
from service.drift.reading import read_baseline
from service.errors import BadBundle
from service.manifest import PROBE, SIGNATURES, Preprocessing
from tests.graphs import Builder, hostile_statistics
from tests.service.watched import images, write_watched
from training.baseline import Reference
from training.bundle import Description, write_bundle
from training.errors import UnusableInput

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("models"))


def _arrays(folder: Path) -> Arrays:
    with np.load(folder / SIGNATURES) as archive:
        return dict(archive)


def _replace(folder: Path, data: bytes) -> None:
    (folder / SIGNATURES).write_bytes(data)
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest["files"][SIGNATURES] = entry
    place.write_text(json.dumps(manifest))


def test_what_is_written_is_read(watched: Path) -> None:
    baseline, arrays = read_baseline(open_bundle(watched)), _arrays(watched)
    assert baseline is not None
    signatures = baseline.signatures
    assert signatures is not None
    assert set(signatures.changes) == WORDS.keys()
    assert signatures.mean_filter.shape == (len(WORDS), baseline.channels)
    for name, array in arrays.items():
        if name != "changes":
            np.testing.assert_array_equal(getattr(signatures, name), array)
    # A filter answers its own change with 1, and nothing with 0.
    answers = (signatures.mean_filter * signatures.mean_direction).sum(axis=1)
    answers += (signatures.influence_filter * signatures.influence_direction).sum(axis=1)
    np.testing.assert_allclose(answers, 1, atol=1e-4)


def test_a_direction_is_what_the_change_does_to_the_pictures(tmp_path: Path) -> None:
    """Against ONNX Runtime on the probe network, with the pictures inverted as pixels."""
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
    pixels = np.random.default_rng(0).random((150, 3, 8, 8), np.float32)
    how = Preprocessing(
        width=8, height=8, colour="RGB", mean=tuple(mean.tolist()), std=tuple(std.tolist())
    )

    def rows(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = (pictures - mean[:, None, None]) / std[:, None, None]
        return made

    reference = Reference({"image": rows(pixels)}, "drawn")
    model = onnx.load(write_watched(tmp_path / "first") / "source.onnx")
    about = Description("net", preprocessing=how)
    bundle = open_bundle(write_bundle(model, about, tmp_path, reference=reference).folder)
    baseline = read_baseline(bundle)
    assert baseline is not None
    assert baseline.signatures is not None
    probe = onnxruntime.InferenceSession(bundle.read(PROBE))
    outputs = [layer.probe.mean for layer in bundle.layers if layer.probe is not None]
    before, after = (
        np.concatenate(probe.run(outputs, {"image": rows(p)}), axis=1) for p in (pixels, 1 - pixels)
    )
    found = baseline.signatures.mean_direction[baseline.signatures.changes.index("inverted")]
    wanted = (after - before).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_preprocessing_that_does_not_fit_is_still_one_sentence(tmp_path: Path) -> None:
    model = onnx.load(write_watched(tmp_path / "first") / "source.onnx")
    how = Preprocessing(width=8, height=8, colour="L", mean=(0.5,), std=(0.5,))
    reference = Reference({"image": images(150, 0)}, "drawn")
    with pytest.raises(UnusableInput, match=r"preprocessing gives FP32 \[1, 1, 8, 8\]"):
        write_bundle(model, Description("net", preprocessing=how), tmp_path, reference=reference)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a: a | {"changes": np.array(["brighter", "upside down"])},
            "expected changes among",
        ),
        (lambda a: {k: v for k, v in a.items() if k != "changes"}, "expected changes among"),
        (
            lambda a: a | {"mean_filter": a["mean_filter"][:, :-1]},
            "expected mean_filter as floating",
        ),
        (
            lambda a: a | {"spread": a["spread"].astype(int)},
            "expected spread as floating point [8]",
        ),
        (lambda a: {k: v for k, v in a.items() if k != "kurtosis"}, "kurtosis as floating point"),
        (lambda a: a | {"changes": a["changes"][np.newaxis]}, "expected changes among"),
        (lambda a: a | {"changes": a["changes"][[0] * 8]}, "expected different changes"),
        (lambda a: a | {"spread": 0 * a["spread"]}, "expected spread to be positive numbers"),
        (lambda a: a | {"floor": a["floor"] + np.nan}, "expected floor to be finite numbers"),
    ],
)
def test_damaged_signatures_are_one_sentence(
    watched: Path, tmp_path: Path, change: Callable[[Arrays], Arrays], words: str
) -> None:
    folder = Path(shutil.copytree(watched.parent, tmp_path / watched.parent.name)) / "1"
    buffer = io.BytesIO()
    np.savez(buffer, **change(_arrays(folder)))  # type: ignore[arg-type]
    _replace(folder, buffer.getvalue())
    with pytest.raises(BadBundle) as refused:
        read_baseline(open_bundle(folder))
    assert str(refused.value).startswith(f"{SIGNATURES}: ")
    assert words in str(refused.value)


def test_what_is_no_archive_is_one_sentence(watched: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(watched.parent, tmp_path / watched.parent.name)) / "1"
    _replace(folder, b"junk")
    with pytest.raises(BadBundle, match=r"signatures\.npz: expected NumPy arrays"):
        read_baseline(open_bundle(folder))


def test_a_bundle_without_them_is_watched_by_its_layers_alone(tmp_path: Path) -> None:
    baseline = read_baseline(open_bundle(write_watched(tmp_path, measured=False)))
    assert baseline is not None
    assert baseline.signatures is None


@pytest.mark.parametrize(
    ("count", "shape"),
    [(99, (3, 8, 8)), (200, (4, 8, 8)), (200, (3,))],
    ids=["too few pictures", "no colours", "no pictures"],
)
def test_only_enough_pictures_have_signatures(
    tmp_path: Path, count: int, shape: tuple[int, ...]
) -> None:
    builder, wide = Builder(3), len(shape) > 1
    weight = builder.weight("w", *((8, shape[0], 3, 3) if wide else (shape[0], 8)))
    made = builder.op("Conv" if wide else "Gemm", ["image", weight], "c")
    statistics = hostile_statistics(8, builder.random)
    builder.op("Relu", [builder.normalize(made, "layer", statistics)], "out")
    model = builder.model({"image": ["N", *shape]}, ["out"])
    rows = builder.random.normal(size=(count, *shape)).astype(np.float32)
    reference = Reference({"image": rows}, "drawn")
    folder = write_bundle(model, Description("net"), tmp_path, reference=reference).folder
    assert not (folder / SIGNATURES).exists()
