"""Alarms: what is said when a verdict changes and when it ends: log, webhook, metrics; over HTTP,
with real traffic, with several workers, and after a restart."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.alarms import MOST_LAYERS, Alarms
from service.exposition import render
from tests.servers import Server, poll, start
from tests.service.test_metrics import samples
from tests.service.test_webhook import receiving
from tests.service.watched import LAYERS, NAME, images, write_watched

ROUTE = f"/v2/models/{NAME}"
EAGER = {
    "FOLDSERVE_DRIFT_SAMPLE": "1",
    "FOLDSERVE_DRIFT_BUDGET": "1",
    "FOLDSERVE_DRIFT_CHECK_S": "0.1",
    "FOLDSERVE_THREADS": "1",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("alarmed"))


@contextmanager
def served(folder: Path, *flags: str, **environment: str) -> Iterator[Server]:
    """A server process of the watched model."""
    server = start("--models", str(folder.parent.parent), *flags, **EAGER, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def infer(server: Server, rows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """One request on a connection of its own: the kernel spreads them over workers."""
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "data": rows.tolist()}
    done = httpx.post(f"http://{server.address}{ROUTE}/infer", json={"inputs": [tensor]})
    assert done.status_code == 200, done.text


def metric(server: Server, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """A series as /metrics has it."""
    return samples(httpx.get(f"http://{server.address}/metrics").text, name, *labels)


def verdict_is(server: Server, word: str) -> None:
    """Waits until the metrics have this verdict."""
    name = "foldserve_drift_verdict"
    poll(lambda: metric(server, name, "verdict").get((word,)) == 1, f"the verdict {word}")


def counted(server: Server, images: int) -> None:
    """Waits until the metrics have so many images."""
    name = "foldserve_drift_images"
    poll(lambda: metric(server, name, "model").get((NAME,)) == images, f"{images} images")


def _report(verdict: str, layers: int = 2) -> dict[str, Any]:
    scores = {"mean_shift": 0.4, "variance_shift": 0.1, "mean_floor": 0.1, "variance_floor": 0.1}
    return {
        **{"model_name": "digits", "model_version": "1", "verdict": verdict, "diagnosis": "words"},
        **{"likely_cause": None, "n": 20, "dropped": 3, "nonfinite": 1, "window_s": 60.0},
        "outliers": {"count": 2, "share": 0.1},
        "layers": [{"name": f"l{i}", "alarm": i == 1, **scores} for i in range(layers)],
    }


def test_a_change_is_told_once_when_the_next_look_confirms_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alarms = Alarms()
    with caplog.at_level(logging.INFO):
        for word in ("ok", "drift", "ok", "ok", "drift", "drift", "drift", "watch", "drift"):
            alarms.look(_report(word))
        for word in ("insufficient", "insufficient"):
            alarms.look(_report(word))
    words = [re.findall(r"traffic is (\w+), and was (\w+): words", m)[0] for m in caplog.messages]
    assert words == [("ok", "insufficient"), ("drift", "ok"), ("insufficient", "drift")]
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "INFO"]


def test_a_version_that_is_gone_has_no_series() -> None:
    alarms = Alarms()
    alarms.look(_report("ok"))
    alarms.keep({("digits", "1")})
    assert len(alarms.figures) == 1
    alarms.keep(set())
    assert alarms.figures == []


def test_the_layers_that_have_series_are_bounded() -> None:
    alarms = Alarms()
    alarms.look(_report("drift", layers=3 * MOST_LAYERS))
    process = dict.fromkeys(("resident_bytes", "threads", "process_threads", "ready"), 0)
    snapshot = {
        "process": {f"foldserve_{name}": value for name, value in process.items()},
        **{"responses": {}, "models": [], "drift": alarms.figures, "deliveries": {}},
    }
    text = render({0: snapshot}).decode()
    assert len(samples(text, "foldserve_drift_mean_shift", "layer")) == MOST_LAYERS
    assert samples(text, "foldserve_drift_layers_alarmed", "model") == {("digits",): 1}


def test_drift_is_logged_exported_and_posted_and_so_is_its_end(folder: Path) -> None:
    with receiving(500) as receiver:
        environment = {"FOLDSERVE_DRIFT_WEBHOOK": receiver.url, "FOLDSERVE_LOG_FORMAT": "json"}
        with served(folder, **environment) as server:
            verdict_is(server, "insufficient")
            for seed in range(4):
                infer(server, images(20, seed, gain=255.0))
            poll(lambda: len(receiver.messages) == 1, "the webhook's message")
            infer(server, images(5, 9, gain=255.0))
            address = f"http://{server.address}"
            told = httpx.get(f"{address}{ROUTE}/drift").json()
            verdict_is(server, "drift")
            poll(
                lambda: metric(server, "foldserve_drift_images", "model")[NAME,] == 85, "85 images"
            )
            alarmed = metric(server, "foldserve_drift_alarm", "layer")
            shifts = metric(server, "foldserve_drift_mean_shift", "layer")
            httpx.post(f"{address}{ROUTE}/drift/reset")
            poll(lambda: len(receiver.messages) == 2, "the message of the end")
            delivered = metric(server, "foldserve_drift_webhook_total", "outcome")
            _, errors = server.stop()
    assert {layer for (layer,) in alarmed} == set(LAYERS)
    for layer in told["layers"]:
        assert alarmed[layer["name"],] == layer["alarm"]
        assert shifts[layer["name"],] == pytest.approx(layer["mean_shift"], rel=0.5)
    (_, kind, began), (_, _, ended) = receiver.messages
    assert (began["verdict"], ended["verdict"], ended["before"]) == (
        "drift",
        "insufficient",
        "drift",
    )
    assert "255 times too large" in began["likely_cause"]
    assert (began["model_name"], began["n"] in range(5, 81)) == (NAME, True)
    assert began["layers"][0]["alarm"] is True
    assert kind == "application/json"
    assert delivered == {("delivered",): 2}
    events = [json.loads(line) for line in errors.splitlines() if '"event"' in line]
    changes = [(event["before"], event["verdict"], event["level"]) for event in events]
    assert changes == [("insufficient", "drift", "warning"), ("drift", "insufficient", "info")]
    assert receiver.url not in errors


def test_of_several_workers_one_alarms_about_all(folder: Path) -> None:
    with receiving() as receiver:
        environment = {"FOLDSERVE_DRIFT_WEBHOOK": receiver.url, "FOLDSERVE_LOG_FORMAT": "json"}
        with served(folder, "--workers", "2", **environment) as server:
            for seed in range(20):
                infer(server, images(3, seed, shift=1.5))
            counted(server, 60)
            verdict_is(server, "drift")
            poll(lambda: len(receiver.messages) > 0, "the message")
            rows = metric(server, "foldserve_rows_total", "worker")
            _, errors = server.stop()
    assert min(rows.values()) > 0, "the kernel gave one worker everything"
    assert len(receiver.messages) == 1
    assert errors.count('"event": "drift"') == 1


@pytest.mark.parametrize("workers", [(1, 1), (2, 1), (2, 2)])
def test_what_was_seen_outlives_a_restart(
    folder: Path, tmp_path: Path, workers: tuple[int, int]
) -> None:
    state = {"FOLDSERVE_DRIFT_STATE": str(tmp_path / "state")}
    before, after = map(str, workers)
    with served(folder, "--workers", before, **state) as server:
        for seed in range(12):
            infer(server, images(5, seed, shift=1.5))
        counted(server, 60)
        told = httpx.get(f"http://{server.address}{ROUTE}/drift").json()
        server.stop()
    with served(folder, "--workers", after, **state) as server:
        again = httpx.get(f"http://{server.address}{ROUTE}/drift").json()
        verdict_is(server, "drift")
        infer(server, images(5, 99, shift=1.5))
        counted(server, 65)
    for one in (told, again):
        del one["window_s"]
    for one, other in zip(told.pop("layers"), again.pop("layers"), strict=True):
        assert one["name"] == other["name"]
        assert one["mean_shift"] == pytest.approx(other["mean_shift"], rel=1e-9)
    assert told == again


def test_a_folder_that_cannot_be_written_stops_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with served(folder, FOLDSERVE_DRIFT_STATE=str(tmp_path / "file")) as server:
        infer(server, images(10, 1))
        counted(server, 10)
        status, errors = server.stop()
    assert status == 0
    assert errors.count("what was seen cannot be saved") == 1
