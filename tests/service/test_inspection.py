"""One input beside the baseline, over HTTP; and the drift of one layer and over time."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api import drift_schemas as schemas
from service.app import create_app
from service.bundle import open_bundle
from service.drift.baseline import Baseline
from service.drift.inspection import describe_image
from service.drift.reading import read_baseline
from service.settings import Settings
from service.watch import MOST_INSPECTIONS
from tests.servers import serving, start
from tests.service.bundles import write_bundle
from tests.service.watched import LAYERS, NAME, ROUTE, drift_of, images, write_watched

Images = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    write_watched(folder)
    write_bundle(folder, "plain")  # without a baseline
    return folder


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[httpx.Client]:
    settings = Settings(
        models=models, threads=1, drift_sample=1, drift_budget=1.0, drift_step_s=1, max_body_mb=1
    )
    with serving(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def baseline(models: Path) -> Baseline:
    found = read_baseline(open_bundle(models / NAME / "1"))
    assert found is not None
    return found


def _ask(client: httpx.Client, route: str, rows: Images) -> httpx.Response:
    return client.post(f"{ROUTE}/{route}", json={"instances": rows.tolist()})


def _inspect(client: httpx.Client, rows: Images) -> dict[str, Any]:
    done = _ask(client, "inspect", rows)
    assert done.status_code == 200, done.text
    answer: dict[str, Any] = done.json()
    return answer


def test_distances_are_those_of_the_formula(baseline: Baseline) -> None:
    """The oracle is the definition in float64: standard scores of m and of ψ = q - 2·μ₀·m."""
    random = np.random.default_rng(1)
    mean = random.normal(0, 1, baseline.channels)
    square = mean**2 + random.uniform(0.5, 2, baseline.channels)
    report = describe_image(mean, square, baseline)
    for layer, found in zip(baseline.layers, report["layers"], strict=True):
        m, q = (v[baseline.places[layer.name]][layer.used] for v in (mean, square))
        mu, v0 = layer.mean[layer.used], layer.var[layer.used]
        z = (m - mu) / np.sqrt(layer.mean_spread[layer.used])
        psi, expected = q - 2 * mu * m, v0 + mu**2 - 2 * mu * mu
        z_psi = (psi - expected) / np.sqrt(layer.var_spread[layer.used])
        np.testing.assert_allclose(found["mean_distance"], (z**2).mean(), rtol=1e-10)
        np.testing.assert_allclose(found["variance_distance"], (z_psi**2).mean(), rtol=1e-10)
        top = found["top_channels"][0]
        assert abs(top["standard_score"]) == pytest.approx(np.abs(z).max(), rel=1e-10)
        assert found["beyond"] == (found["mean_distance"] > found["limit"])


def test_images_like_those_of_the_baseline_are_about_one_away(
    client: httpx.Client,
) -> None:
    answers = [_inspect(client, images(1, seed)) for seed in range(300, 360)]
    for index in range(len(LAYERS)):
        distances = [answer["layers"][index]["mean_distance"] for answer in answers]
        spreads = [answer["layers"][index]["variance_distance"] for answer in answers]
        assert 0.5 < np.mean(distances) < 2, LAYERS[index]
        assert 0.5 < np.mean(spreads) < 2, LAYERS[index]
    assert sum(answer["outlier"] for answer in answers) <= 5


def test_an_unlike_image_is_said_to_be_one_and_answers_are_those_of_predict(
    client: httpx.Client,
) -> None:
    row = images(1, 7, shift=6.0)
    answer = _inspect(client, row)
    schemas.Inspection.model_validate(answer)
    assert answer["outlier"] is True
    assert answer["unlikeness"] > answer["unlikeness_limit"]
    assert [layer["name"] for layer in answer["layers"]] == LAYERS
    assert answer["layers"][0]["beyond"] is True
    assert answer["first_nonfinite"] is None
    assert answer["predictions"] == _ask(client, "predict", row).json()["predictions"]


def test_inspecting_is_not_traffic(client: httpx.Client) -> None:
    client.post(f"{ROUTE}/drift/reset")
    for seed in range(5):
        _inspect(client, images(1, seed))
    _ask(client, "predict", images(3, 1))
    assert drift_of(client, 3)["n"] == 3
    time.sleep(0.2)
    assert drift_of(client, 3)["n"] == 3


def test_the_layer_that_is_not_finite_is_named(client: httpx.Client) -> None:
    answer = _inspect(client, np.full((1, 3, 8, 8), 1e38, np.float32))
    schemas.Inspection.model_validate(answer)
    assert answer["first_nonfinite"] == LAYERS[0]
    assert answer["outlier"] is True
    assert answer["unlikeness"] is None


def test_what_cannot_be_inspected_is_refused(client: httpx.Client) -> None:
    two = _ask(client, "inspect", images(2, 1))
    assert two.status_code == 400
    assert two.json()["error"] == "request body: expected one input to inspect, got 2"
    plain = client.post("/v2/models/plain/inspect", json={"instances": []})
    assert plain.status_code == 404
    assert "no drift, its bundle has no baseline" in plain.json()["error"]
    large = client.post(f"{ROUTE}/inspect", content=b"x" * 2**21)
    assert large.status_code == 413


def test_inspections_at_once_are_bounded(models: Path) -> None:
    app = create_app(Settings(models=models, threads=1))
    with serving(app) as client:
        watch = app.state.context.registry.get(NAME).watch
        for _ in range(MOST_INSPECTIONS):
            assert watch.inspections.acquire(blocking=False)
        full = _ask(client, "inspect", images(1, 1))
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")
        watch.inspections.release()
        for _ in range(3):  # each gives back what it took
            assert _ask(client, "inspect", images(1, 1)).status_code == 200


def test_one_layer_has_all_its_channels(client: httpx.Client, baseline: Baseline) -> None:
    client.post(f"{ROUTE}/drift/reset")
    layer = f"{ROUTE}/drift/layers/{LAYERS[1]}"
    empty = client.get(layer).json()
    assert (empty["n"], empty["scores"]) == (0, None)
    assert empty["channels"]["mean"] is None
    np.testing.assert_allclose(empty["channels"]["baseline_mean"], baseline.layers[1].mean)
    _ask(client, "predict", images(3, 1))
    drift_of(client, 3)
    few = client.get(layer).json()
    assert (few["n"], few["scores"]) == (3, None)
    assert few["channels"]["contribution"] is None
    assert len(few["channels"]["mean"]) == 8
    _ask(client, "predict", images(40, 2, shift=1.0))
    whole = drift_of(client, 43)
    found = client.get(layer, params={"window": 1000}).json()
    for answer in (empty, few, found):
        schemas.DriftOfLayer.model_validate(answer)
    assert found["scores"] == whole["layers"][1]
    for top in found["scores"]["top_channels"]:
        for field in ("mean", "std", "baseline_mean", "baseline_std", "contribution"):
            assert found["channels"][field][top["channel"]] == pytest.approx(top[field])
    nobody = client.get(f"{ROUTE}/drift/layers/none")
    assert nobody.status_code == 404
    assert nobody.json()["error"].endswith(
        "expected one of the 3 layers that are watched, got 'none'"
    )
    assert client.get(layer, params={"window": "x"}).status_code == 400


def test_the_history_has_every_window(client: httpx.Client) -> None:
    """Windows of a second; those in which nothing was sampled are not listed."""
    client.post(f"{ROUTE}/drift/reset")
    assert client.get(f"{ROUTE}/drift/history").json()["windows"] == []
    _ask(client, "predict", images(20, 1))
    drift_of(client, 20)
    time.sleep(1.1)
    _ask(client, "predict", images(20, 2, shift=1.5))
    whole = drift_of(client, 40)
    history = client.get(f"{ROUTE}/drift/history").json()
    schemas.DriftHistory.model_validate(history)
    assert (history["step_s"], history["steps"]) == (1, 12)
    windows = history["windows"]
    assert [layer["name"] for layer in history["layers"]] == LAYERS
    assert sum(window["n"] for window in windows) == 40
    started = [window["started"] for window in windows]
    assert started == sorted(started)
    assert windows[-1]["verdict"] == "drift"
    assert any(windows[-1]["alarm"])
    assert windows[-1]["mean_shift"][0] > whole["layers"][0]["mean_shift"] > 0


def test_the_history_is_that_of_all_workers(models: Path) -> None:
    server = start(
        "--models",
        str(models),
        "--workers",
        "2",
        FOLDSERVE_DRIFT_SAMPLE="1",
        FOLDSERVE_DRIFT_BUDGET="1",
        FOLDSERVE_THREADS="1",
    )
    try:
        for seed in range(12):  # a connection each: the kernel spreads them over the workers
            with httpx.Client(base_url=f"http://{server.address}") as client:
                _ask(client, "predict", images(5, seed))
        with httpx.Client(base_url=f"http://{server.address}") as client:
            assert drift_of(client, 60)["n"] == 60
            windows = client.get(f"{ROUTE}/drift/history").json()["windows"]
            assert sum(window["n"] for window in windows) == 60
            assert len({window["started"] for window in windows}) == len(windows)
            assert client.get(f"{ROUTE}/drift/layers/{LAYERS[0]}").json()["n"] == 60
    finally:
        server.stop()
