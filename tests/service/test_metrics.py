"""Metrics: the sums are those of the statistics, of every worker, with bounded labels."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.exposition import render
from service.metrics import take_snapshot
from service.registry import load_registry
from service.settings import Settings
from tests.servers import serving
from tests.service.bundles import write_bundle

Samples = dict[tuple[str, ...], float]


def samples(text: str, name: str, *labels: str) -> Samples:
    """The values of one series by the labels named."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_histograms_and_counters_of_two_workers(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    registry = load_registry(tmp_path, threads=1)
    model = registry.get("tiny")
    asyncio.run(model.predict({"image": np.ones((3, 3, 8, 8), np.float32)}))
    one = take_snapshot(registry, 1, {200: 1})
    asyncio.run(model.predict({"image": np.ones((1, 3, 8, 8), np.float32)}))
    two = take_snapshot(registry, 1, {200: 1, 429: 2})
    text = render({0: one, 1: two}).decode()
    assert samples(text, "foldserve_rows_total", "model", "version", "worker") == {
        ("tiny", "1", "0"): 3,
        ("tiny", "1", "1"): 4,
    }
    buckets = samples(text, "foldserve_batch_rows_bucket", "worker", "le")
    assert [buckets["1", le] for le in ("1.0", "2.0", "4.0", "+Inf")] == [1, 1, 2, 2]
    assert samples(text, "foldserve_batch_rows_sum", "worker") == {("0",): 3, ("1",): 4}
    assert samples(text, "foldserve_batches_total", "worker", "reason")["1", "idle"] == 2
    assert samples(text, "foldserve_http_responses_total", "worker", "status") == {
        ("0", "200"): 1,
        ("1", "200"): 1,
        ("1", "429"): 2,
    }
    assert samples(text, "foldserve_ready", "worker") == {("0",): 1, ("1",): 1}
    assert samples(text, "foldserve_resident_bytes", "worker")["0",] > 2**20
    phases = samples(text, "foldserve_load_seconds", "worker", "phase")
    assert {phase for _, phase in phases} == {"read", "load", "check"}


def test_strangers_make_no_series(tmp_path: Path) -> None:
    """Unknown models, versions and paths are counted by status code, and nowhere else."""
    write_bundle(tmp_path)
    with serving(create_app(Settings(models=tmp_path, threads=1))) as client:
        before = series(client)
        for number in range(200):
            assert client.post(f"/v2/models/nobody{number}/infer").status_code == 404
            assert client.get(f"/{number}").status_code == 404
        after = series(client)
        text = client.get("/metrics").text
    assert len(after - before) <= 2  # the status codes
    assert samples(text, "foldserve_http_responses_total", "status")["404",] == 400


def series(client: httpx.Client) -> set[str]:
    """The names and labels of all series."""
    text = client.get("/metrics").text
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
