"""Versions come, are replaced and go while the service runs; what is bad displaces nothing."""

import asyncio
import gc
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from service.errors import LoadFailed, NotFound, NotReady
from service.model import Model
from service.registry import Registry, State, load_registry
from tests.servers import poll, start
from tests.service.bundles import convolutional, rewrite_manifest, write_bundle

IMAGES = {"image": np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)}


def answer(model: Model) -> bytes:
    """The bits of an answer."""
    return asyncio.run(model.predict(IMAGES))["scores"].tobytes()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """tiny/1, loaded."""
    write_bundle(tmp_path, "tiny", 1)
    return load_registry(tmp_path, threads=1)


def resident_kib() -> int:
    """Resident memory of this process."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1])


def test_a_scan_takes_up_a_new_version_beside_the_old(registry: Registry, tmp_path: Path) -> None:
    first = registry.get("tiny")
    write_bundle(tmp_path, "tiny", 2, convolutional(seed=2))
    write_bundle(tmp_path, "other", 1)
    registry.scan()
    assert registry.versions("tiny") == [1, 2]
    assert registry.get("tiny").version == 2
    assert registry.get("tiny", "1") is first  # what has not changed is not loaded again
    assert registry.names() == ["other", "tiny"]


def test_a_bad_new_version_leaves_the_old_in_place(registry: Registry, tmp_path: Path) -> None:
    (write_bundle(tmp_path, "tiny", 2) / "model.onnx").write_bytes(b"junk")
    registry.scan()
    assert registry.get("tiny").version == 1
    bad = registry.index()[1]
    assert (bad.version, bad.state) == (2, State.UNAVAILABLE)
    assert "model.onnx: expected" in bad.reason
    assert registry.ready


def test_a_damaged_bundle_does_not_displace_itself(registry: Registry, tmp_path: Path) -> None:
    before = registry.get("tiny")
    (tmp_path / "tiny" / "1" / "model.onnx").write_bytes(b"junk")
    with pytest.raises(LoadFailed, match=r"failed to load 'tiny', version 1: model\.onnx: exp"):
        registry.load("tiny")
    (entry,) = registry.index()
    assert (entry.model, entry.state) == (before, State.READY)
    assert "model.onnx: expected" in entry.reason
    assert len(answer(before)) == 3 * 4 * 4


def test_a_version_is_one_function_for_ever(registry: Registry, tmp_path: Path) -> None:
    before = registry.get("tiny")
    shutil.rmtree(tmp_path / "tiny" / "1")
    write_bundle(tmp_path, "tiny", 1, convolutional(seed=2))
    registry.scan()
    assert registry.get("tiny") is before
    assert "give another one a new version" in registry.index()[0].reason
    registry.unload("tiny")
    registry.load("tiny")
    assert answer(registry.get("tiny")) != answer(before)


def test_words_of_a_version_may_change(registry: Registry, tmp_path: Path) -> None:
    before = registry.get("tiny")
    rewrite_manifest(tmp_path / "tiny" / "1", labels=["a", "b", "c", "d"])
    registry.scan()
    assert registry.get("tiny").manifest.labels == ("a", "b", "c", "d")
    assert answer(registry.get("tiny")) == answer(before)  # the same bits after a reload


def test_a_model_that_is_replaced_serves_who_holds_it_and_is_then_released(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    held = registry.get("tiny")
    registry.load("tiny")
    assert answer(held) == answer(registry.get("tiny"))
    gc.disable()  # references alone decide: there are no cycles
    try:
        with caplog.at_level(logging.INFO):
            del held
        assert "model tiny/1 released" in caplog.messages
    finally:
        gc.enable()


def test_unloading_and_loading_again(registry: Registry) -> None:
    registry.unload("tiny")
    with pytest.raises(NotReady, match="version 1: unloaded"):
        registry.get("tiny")
    registry.scan()  # stays as it was asked to be
    assert registry.names() == []
    assert [(e.state, e.reason) for e in registry.index()] == [(State.UNAVAILABLE, "unloaded")]
    registry.load("tiny")
    assert registry.get("tiny").version == 1
    for change in (registry.load, registry.unload):
        with pytest.raises(NotFound, match="expected one of tiny; got 'nobody'"):
            change("nobody")


def test_a_bundle_deleted_while_served(registry: Registry, tmp_path: Path) -> None:
    """It goes on being served from memory; a load fails and changes nothing; a scan unloads it."""
    before = registry.get("tiny")
    shutil.rmtree(tmp_path / "tiny")
    answer(registry.get("tiny"))
    with pytest.raises(LoadFailed, match="expected a folder that can be listed"):
        registry.load("tiny")
    assert registry.get("tiny") is before
    registry.scan()
    with pytest.raises(NotFound):
        registry.get("tiny")


def test_a_folder_that_cannot_be_listed_changes_nothing(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = registry.get("tiny")
    tmp_path.rename(tmp_path.with_name("away"))
    registry.scan()
    assert registry.get("tiny") is before
    assert "nothing changes: expected a folder" in caplog.text
    assert registry.ready


def test_required_models_gate_readiness(tmp_path: Path) -> None:
    write_bundle(tmp_path, "tiny")
    registry = load_registry(tmp_path, 1, required=["late"])
    ready = [registry.ready]
    write_bundle(tmp_path, "late")
    registry.scan()
    ready.append(registry.ready)
    registry.unload("tiny")
    ready.append(registry.ready)
    registry.unload("late")
    ready.append(registry.ready)
    assert ready == [False, True, True, False]


def test_later_models_never_change_readiness(registry: Registry, tmp_path: Path) -> None:
    (write_bundle(tmp_path, "extra") / "model.onnx").write_bytes(b"junk")
    registry.scan()
    assert registry.ready
    registry.stopping = True
    assert not registry.ready


def test_reloads_do_not_leak(registry: Registry) -> None:
    """A short run of benchmarks/reloads.py, which does it a thousand times."""
    for _ in range(30):
        registry.load("tiny")
    before = resident_kib()
    for _ in range(60):
        registry.load("tiny")
    assert resident_kib() < before * 1.05


def test_a_half_written_bundle_is_not_seen(registry: Registry, tmp_path: Path) -> None:
    """Bundles are written beside their place, under a hidden name, and renamed into it."""
    whole = write_bundle(tmp_path, "tiny", 2)
    whole.rename(tmp_path / "tiny" / ".2.partial")
    registry.scan()
    assert registry.versions("tiny") == [1]
    assert json.loads((tmp_path / "tiny" / "1" / "manifest.json").read_text())["version"] == 1


def test_a_watched_folder_is_taken_up_by_itself(tmp_path: Path) -> None:
    server = start("--models", str(tmp_path), FOLDSERVE_WATCH_S="0.1")
    try:
        assert server.status("/v2/models/tiny/ready") == 404
        beside = write_bundle(tmp_path / ".beside", "tiny")
        beside.parent.rename(tmp_path / "tiny")
        poll(lambda: server.status("/v2/models/tiny/ready") == 200, "the model")
        shutil.rmtree(tmp_path / "tiny")
        poll(lambda: server.status("/v2/models/tiny/ready") == 404, "the model to be gone")
    finally:
        status, errors = server.stop()
    assert status == 0, errors
    assert "Traceback" not in errors
