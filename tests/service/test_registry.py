"""The folder of models: good ones are served, bad ones are explained and harm nobody."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.errors import NotFound, NotReady
from service.registry import load_registry
from tests.service.bundles import (
    convolutional,
    graph,
    manifest,
    rewrite_manifest,
    statistics,
    write_bundle,
)


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(data))


def append_junk(folder: Path) -> None:
    with (folder / "layers.json").open("ab") as file:
        file.write(b" ")


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def link_outside(folder: Path) -> None:
    outside = folder.parent.parent / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)


def list_file(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        files = json.loads((folder / "manifest.json").read_text())["files"]
        rewrite_manifest(folder, files={**files, name: files["fold.json"]})

    return damage


def replace(name: str, data: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(data)
        files = {
            file.name: file.read_bytes()
            for file in folder.iterdir()
            if file.name != "manifest.json"
        }
        rewrite_manifest(folder, files=manifest("tiny", 1, files)["files"])

    return damage


def external_data() -> bytes:
    model = onnx.load_from_string(convolutional())
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "weights.bin", 0)
        tensor.ClearField("raw_data")
    serialized: bytes = model.SerializeToString()
    return serialized


def foreign_operator() -> bytes:
    vector: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, ["N", 3])}
    node = helper.make_node("Foo", ["x"], ["y"], domain="com.example")
    return graph([node], vector, {"y": (TensorProto.FLOAT, ["N", 3])}, domain="com.example")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped byte": (flip_a_byte, "model.onnx: expected SHA-256"),
    "missing file": (lambda f: (f / "probe.onnx").unlink(), "probe.onnx: expected a readable"),
    "missing manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json: expected"),
    "junk appended": (append_junk, "layers.json: expected .* bytes"),
    "unknown field": (lambda f: rewrite_manifest(f, surprise=1), "surprise"),
    "manifest not JSON": (break_manifest, "expected JSON"),
    "parent path": (list_file("../../secret"), "plain file names"),
    "absolute path": (list_file("/etc/passwd"), "plain file names"),
    "link": (link_outside, "model.onnx: expected a readable file"),
    "format version": (lambda f: rewrite_manifest(f, format_version=2), "format version 1, got 2"),
    "another name": (lambda f: rewrite_manifest(f, name="other"), "got other/1"),
    "another version": (lambda f: rewrite_manifest(f, version=7), "got tiny/7"),
    "external data": (replace("model.onnx", external_data()), "External data"),
    "custom operator": (replace("model.onnx", foreign_operator()), "Foo"),
    "statistics not arrays": (replace("normalization.npz", b"junk"), "expected NumPy arrays"),
    "layers not JSON": (replace("layers.json", b"["), "layers.json"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_bundle_is_explained_and_harms_nobody(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage, reason = DAMAGES[name]
    write_bundle(tmp_path, "good")
    damage(write_bundle(tmp_path, "tiny"))
    registry = load_registry(tmp_path, threads=1)
    with pytest.raises(NotReady, match=f"model 'tiny' version 1: .*{reason}") as refused:
        registry.get("tiny")
    assert str(tmp_path) not in str(refused.value)
    assert f"model tiny/1 is unavailable: {registry.index()[1].reason}" in caplog.messages
    assert registry.get("good").version == 1
    assert (registry.names(), registry.ready) == (["good"], False)
    registry.close()


def test_an_array_of_the_wrong_kind_is_explained(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    arrays = {key: array.astype(np.int64) for key, array in statistics().items()}
    np.savez(folder / "normalization.npz", allow_pickle=False, **arrays)
    replace("fold.json", b"{}")(folder)
    reason = load_registry(tmp_path, threads=1).index()[0].reason
    assert "floating point [5], got int64 [5]" in reason


def test_a_bad_version_beside_a_good_one_changes_nothing(tmp_path: Path) -> None:
    for version in (2, 9, 10):
        write_bundle(tmp_path, "tiny", version)
    flip_a_byte(tmp_path / "tiny" / "10")
    registry = load_registry(tmp_path, threads=1)
    assert registry.ready
    assert registry.versions("tiny") == [2, 9]
    assert registry.get("tiny").version == 9
    assert registry.get("tiny", "2").version == 2
    with pytest.raises(NotReady, match="version 10"):
        registry.get("tiny", "10")
    registry.close()


@pytest.mark.parametrize("version", ["3", "0", "02", "-2", "x", "2.0", "٢", "9" * 500])
def test_an_unknown_version_is_not_found(tiny_bundle: Path, version: str) -> None:
    registry = load_registry(tiny_bundle.parent.parent, threads=1)
    with pytest.raises(NotFound, match="expected one of the versions 1; got") as refused:
        registry.get("tiny", version)
    assert len(str(refused.value)) < 200
    registry.close()


def test_an_unknown_model_is_not_found_and_the_list_is_bounded(tmp_path: Path) -> None:
    for number in range(14):
        (tmp_path / f"m{number:02}" / "1").mkdir(parents=True)
    with pytest.raises(NotFound, match=r"m09 and 4 more; got 'x{99}…'"):
        load_registry(tmp_path, threads=1).get("x" * 1000)


def test_what_is_no_bundle_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path, "tiny")
    (tmp_path / "README.md").write_text("not a model")
    (tmp_path / "tiny" / "1" / "notes.txt").write_text("a stray file harms nothing")
    for folder in (".hidden/1", "tiny/.2.partial", "tiny/02", "tiny/latest", "stats/1", "a b/1"):
        (tmp_path / folder).mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        registry = load_registry(tmp_path, threads=1)
    assert [(entry.name, entry.version) for entry in registry.index()] == [("tiny", 1)]
    assert registry.ready
    ignored = [line.split("'")[1] for line in caplog.messages]
    assert ignored == ["a b", "stats", "tiny/02", "tiny/latest"]
    registry.close()


def test_no_models_are_not_ready(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not load_registry(tmp_path, threads=1).ready
    missing = load_registry(tmp_path / "missing", threads=1)
    assert not missing.ready
    assert "expected a folder" in caplog.text
    with pytest.raises(NotFound, match="expected one of none"):
        missing.get("tiny")
