"""The watch: what is sampled, what it costs the answers, and what it says over HTTP."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.bundle import open_bundle
from service.settings import Settings
from service.watch import Watch, Watcher, WatchLimits
from tests.servers import poll, serving, start
from tests.service.watched import CHANNELS, LAYERS, ROUTE, drift_of, images, write_watched

EAGER = WatchLimits(sample=1, budget=1.0)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher(EAGER)
    yield made
    made.close()


def _watch(watcher: Watcher, folder: Path) -> Watch:
    watch = watcher.watch(open_bundle(folder))
    assert watch is not None
    return watch


def _rows(watch: Watch) -> int:
    return watch.monitor.read(time.time()).layers.rows


def test_what_is_offered_is_what_the_network_computes(watcher: Watcher, folder: Path) -> None:
    """The oracle is the probe network in ONNX Runtime on all rows at once, averaged by NumPy."""
    watch, rows = _watch(watcher, folder), images(50, 9)
    for start_row in range(0, 50, 7):
        watch.offer({"image": rows[start_row : start_row + 7]})
    poll(lambda: _rows(watch) == 50, "the sample to be taken in")
    answers = watch._run({"image": rows})
    window = watch.monitor.read(time.time()).layers
    for layer, names in zip(watch.baseline.layers, watch.outputs, strict=True):
        place = watch.baseline.places[layer.name]
        expected = answers[names.mean].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(window.mean[place], expected, rtol=1e-5, atol=1e-6)
    pixels = watch.monitor.read(time.time()).input
    expected = rows.astype(np.float64).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(pixels.mean, expected, rtol=1e-12)
    assert pixels.channels == CHANNELS


def test_one_request_in_so_many_is_sampled_after_the_first_rows(folder: Path) -> None:
    watcher = Watcher(WatchLimits(sample=10, first_rows=20), start=False)
    watch = _watch(watcher, folder)
    taken: list[int] = []
    for number in range(1, 101):
        before = len(watcher._queue)
        watch.offer({"image": images(2, number)})
        taken += [number] * (len(watcher._queue) - before)
    assert taken[:10] == list(range(1, 11))
    assert taken[10:] == list(range(20, 101, 10))


def test_the_queue_is_bounded_and_what_is_dropped_is_counted(folder: Path) -> None:
    watcher = Watcher(WatchLimits(sample=1, queue_rows=10), start=False)
    watch = _watch(watcher, folder)
    for number in range(5):
        watch.offer({"image": images(4, number)})
    assert len(watcher._queue) == 2
    assert watch.monitor.dropped == 12


def test_the_budget_is_kept(folder: Path) -> None:
    """A hundredth of a processor: in half a second there is time for the burst, and little more."""
    watcher = Watcher(WatchLimits(sample=1, budget=1e-9, queue_rows=10**6, first_rows=10**6))
    try:
        watch = _watch(watcher, folder)
        for _ in range(400):
            watch.offer({"image": images(256, 1)})
        poll(lambda: _rows(watch) > 0, "the first rows")
        settled = -1
        while settled != _rows(watch):
            settled = _rows(watch)
            time.sleep(0.5)
        assert 0 < settled < 400 * 256
    finally:
        watcher.close()


def test_the_watch_yields_while_requests_wait_but_not_for_ever(
    watcher: Watcher, folder: Path
) -> None:
    asked = 0

    def busy() -> bool:
        nonlocal asked
        asked += 1
        return True

    watch = watcher.watch(open_bundle(folder), busy)
    assert watch is not None
    began = time.monotonic()
    watch.offer({"image": images(6, 1)})
    poll(lambda: _rows(watch) == 6, "the sample")
    assert time.monotonic() - began >= 0.25
    assert asked == 5


def test_a_reload_of_the_same_version_keeps_what_was_seen(watcher: Watcher, folder: Path) -> None:
    first = _watch(watcher, folder)
    first.offer({"image": images(6, 1)})
    poll(lambda: _rows(first) == 6, "the sample")
    assert _rows(_watch(watcher, folder)) == 6


def test_without_a_sample_there_is_no_watch(folder: Path) -> None:
    assert Watcher(WatchLimits(sample=0)).watch(open_bundle(folder)) is None


def test_the_first_layer_that_is_not_finite_is_found(watcher: Watcher, folder: Path) -> None:
    watch, rows = _watch(watcher, folder), images(2, 1)
    assert watch.first_nonfinite({"image": rows}) is None
    assert watch.first_nonfinite({"image": np.full_like(rows, 1e38)}) == LAYERS[0]


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    settings = Settings(models=folder.parent.parent, threads=1, drift_sample=1, drift_budget=1.0)
    with serving(create_app(settings)) as client:
        yield client


def _infer(client: httpx.Client, rows: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "data": rows.tolist()}
    done = client.post(f"{ROUTE}/infer", json={"inputs": [tensor]})
    assert done.status_code == 200, done.text
    scores: list[float] = done.json()["outputs"][0]["data"]
    return scores


def test_a_reset_forgets_what_waits(watcher: Watcher, folder: Path) -> None:
    watch = _watch(watcher, folder)
    for rows in (images(3, 1), images(20, 2)):
        watch.offer({"image": rows})
    watch.reset()
    watch.offer({"image": images(2, 3)})
    poll(lambda: _rows(watch) == 2, "the sample to be taken in")
    time.sleep(0.2)
    assert _rows(watch) == 2
    assert watch.monitor.dropped == 0


def test_a_verdict_and_a_reset_over_http(client: httpx.Client) -> None:
    assert client.post(f"{ROUTE}/drift/reset").status_code == 200
    empty = client.get(f"{ROUTE}/drift").json()
    assert (empty["verdict"], empty["n"], empty["layers"]) == ("insufficient", 0, [])
    for seed in range(5):
        _infer(client, images(20, 100 + seed))
    clean = drift_of(client, 100)
    assert clean["verdict"] in ("ok", "watch")
    assert [layer["name"] for layer in clean["layers"]] == LAYERS
    assert clean["baseline"] == {"kind": "measured", "images": 1500}
    assert sum(clean["classes"]["live"]) == 100
    client.post(f"{ROUTE}/drift/reset")
    for seed in range(5):
        _infer(client, images(20, 200 + seed, shift=1.0))
    moved = drift_of(client, 100)
    assert moved["verdict"] == "drift"
    assert any(layer["alarm"] for layer in moved["layers"])
    top = moved["layers"][0]["top_channels"][0]
    assert abs(top["mean"] - top["baseline_mean"]) > 0.3 * top["baseline_std"]


def test_a_layer_has_its_baseline(client: httpx.Client, folder: Path) -> None:
    arrays = open_bundle(folder).statistics[LAYERS[1]]
    report = client.get(f"{ROUTE}/normalization/{LAYERS[1]}").json()["baseline"]
    for field in ("mean", "var", "mean_spread", "var_spread"):
        np.testing.assert_allclose(report[field], arrays[f"baseline_{field}"], rtol=1e-6)
    assert 1 <= report["mean_degrees"] <= 8


def test_inputs_that_are_255_times_too_large_are_named(client: httpx.Client) -> None:
    client.post(f"{ROUTE}/drift/reset")
    _infer(client, images(30, 1, gain=255.0))
    assert "255 times too large" in drift_of(client, 30)["likely_cause"]


def test_one_window_of_several(client: httpx.Client) -> None:
    client.post(f"{ROUTE}/drift/reset")
    _infer(client, images(10, 1))
    drift_of(client, 10)
    assert client.get(f"{ROUTE}/drift", params={"window": 60}).json()["n"] == 10
    for text in ("abc", "0", "-1", "nan", "inf"):
        done = client.get(f"{ROUTE}/drift", params={"window": text})
        assert done.status_code == 400
        assert done.json()["error"].endswith(f"expected seconds above 0, got '{text}'")


def test_answers_are_the_same_bits_with_and_without_the_watch(
    client: httpx.Client, folder: Path
) -> None:
    rows = images(40, 5)
    watched = [_infer(client, rows[i : i + 3]) for i in range(0, 40, 3)]
    settings = Settings(models=folder.parent.parent, threads=1, drift_sample=0)
    with serving(create_app(settings)) as other:
        assert [_infer(other, rows[i : i + 3]) for i in range(0, 40, 3)] == watched
        refused = other.get(f"{ROUTE}/drift")
    assert refused.status_code == 404
    assert "switched off (FOLDSERVE_DRIFT_SAMPLE=0)" in refused.json()["error"]


def test_any_worker_answers_for_all(folder: Path) -> None:
    server = start(
        "--models",
        str(folder.parent.parent),
        "--workers",
        "2",
        FOLDSERVE_DRIFT_SAMPLE="1",
        FOLDSERVE_DRIFT_BUDGET="1",
        FOLDSERVE_THREADS="1",
    )
    try:
        for seed in range(12):  # a connection each: the kernel spreads them over the workers
            with httpx.Client(base_url=f"http://{server.address}") as client:
                _infer(client, images(5, seed))
        with httpx.Client(base_url=f"http://{server.address}") as client:
            assert drift_of(client, 60)["n"] == 60
            client.post(f"{ROUTE}/drift/reset")
            assert client.get(f"{ROUTE}/drift").json()["n"] == 0
    finally:
        server.stop()
