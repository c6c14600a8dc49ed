"""Metrics: their names, and a snapshot of plain numbers a worker, of which `exposition` makes text.

Whichever worker is asked answers for all. Each keeps a label of its own: a counter of a worker
that was replaced begins again at 0, which Prometheus understands for a series, but not for a sum
in which it went missing. Labels are bounded: models and versions that are there, reasons that the
code lists, status codes. Nothing here is on the way of a request.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.alarms import Alarms
from service.model import Model
from service.registry import Registry
from service.statistics import ROWS, SECONDS, Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PAGE = os.sysconf("SC_PAGE_SIZE")

Snapshot = dict[str, Any]

COUNTERS = {
    "foldserve_rows": "Rows answered.",
    "foldserve_runs": "Runs of the network.",
    "foldserve_requests": "Requests that were answered.",
}
REASONS = {
    "foldserve_failures": "Valid requests that were not answered, by reason.",
    "foldserve_batches": "Runs, by why the batch was not made to wait for more rows.",
}
HISTOGRAMS = {
    "foldserve_queue_seconds": "From arrival to the first run, of each request.",
    "foldserve_compute_seconds": "In ONNX Runtime, of each run.",
    "foldserve_request_seconds": "From the decoded request to its answer, of each request.",
    "foldserve_batch_rows": "Rows of each run, without padding.",
}
GAUGES = {
    "foldserve_waiting_rows": "Rows in the queue.",
    "foldserve_load_seconds": "What loading took, by phase.",
}
PROCESS = {
    "foldserve_resident_bytes": "Resident memory.",
    "foldserve_threads": "Threads for networks, as chosen from the quota.",
    "foldserve_process_threads": "Threads of the process.",
    "foldserve_ready": "1 when the service is ready.",
}
RESPONSES = {"foldserve_http_responses": "Answers by status code."}
# Of the traffic of all workers, as of the last look (service.alarms).
VERDICTS = {"foldserve_drift_verdict": "1 for the verdict on the traffic, 0 for the others."}
DRIFT = {
    "foldserve_drift_images": "Images in the window that is compared with the baseline.",
    "foldserve_drift_dropped_images": "Sampled images for which there was no time.",
    "foldserve_drift_nonfinite_images": "Images with a NaN or an infinity in some layer.",
    "foldserve_drift_outlier_images": "Images unlike any of the baseline.",
    "foldserve_drift_layers_alarmed": "Layers that have moved beyond chance and their floor.",
}
LAYERS = {
    "foldserve_drift_mean_shift": "Effect size d of a layer, in standard deviations.",
    "foldserve_drift_variance_shift": "Effect size r of a layer, in units of ln σ².",
    "foldserve_drift_alarm": "1 for a layer that has moved beyond chance and its floor.",
}
DELIVERIES = {"foldserve_drift_webhook": "Messages to the webhook, by what became of them."}


def take_snapshot(
    registry: Registry, threads: int, responses: Mapping[int, int], alarms: Alarms | None = None
) -> Snapshot:
    """This worker's numbers, as plain values that JSON holds."""
    return {
        "drift": alarms.figures if alarms else [],
        "deliveries": dict(alarms.deliveries) if alarms else {},
        "process": {
            "foldserve_resident_bytes": resident_bytes(),
            "foldserve_threads": threads,
            "foldserve_process_threads": threading.active_count(),
            "foldserve_ready": int(registry.ready),
        },
        "responses": {str(status): count for status, count in responses.items()},
        "models": [
            {"model": model.name, "version": str(model.version), **_model(model)}
            for entry in registry.index()
            if (model := entry.model) is not None
        ],
    }


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return 0


def _model(model: Model) -> Snapshot:
    statistics = model.statistics
    return {
        "foldserve_rows": statistics.inference_count,
        "foldserve_runs": statistics.execution_count,
        "foldserve_requests": statistics.success.count,
        "foldserve_failures": {reason.value: n for reason, n in statistics.failures.items()},
        "foldserve_batches": {reason.value: n for reason, n in statistics.releases.items()},
        "foldserve_queue_seconds": _histogram(statistics.queue_seconds, SECONDS),
        "foldserve_compute_seconds": _histogram(statistics.compute_seconds, SECONDS),
        "foldserve_request_seconds": _histogram(statistics.request_seconds, SECONDS),
        "foldserve_batch_rows": _histogram(statistics.batch_rows, ROWS),
        "foldserve_waiting_rows": model.batcher.waiting_rows,
        "foldserve_load_seconds": model.load_seconds,
    }


def _histogram(histogram: Histogram, bounds: Sequence[float]) -> Snapshot:
    """Cumulative counts by upper bound, as Prometheus has them."""
    buckets = [
        [str(float(bound)), below]
        for bound, below in zip(bounds, histogram.below(bounds), strict=True)
    ]
    return {"buckets": [*buckets, ["+Inf", sum(histogram.counts)]], "total": histogram.total}
