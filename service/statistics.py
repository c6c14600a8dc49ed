"""What a version of a model has done, in numbers that only grow.

The counters are those of the statistics extension of the Open Inference Protocol V2 (Triton,
extension_statistics), with what the metrics need beside them. They are written by the event loop
alone, so that a number costs an addition and no lock. All durations are in nanoseconds.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# Upper bounds in seconds: from below the overhead of a request to the longest that one may take.
SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 10)
# Those and more, ten in a decade: percentiles are to be read from these classes.
_TENTHS = (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
LATENCY = (*(float(f"{m}e{power}") for power in range(-4, 1) for m in _TENTHS), 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_NS = 1_000_000_000


class Failure(StrEnum):
    """Why a valid request was not answered."""

    FAILED = "failed"  # the network failed on it
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"  # its caller had left
    STOPPING = "stopping"


class Release(StrEnum):
    """Why a batch was not made to wait for more rows."""

    FULL = "full"  # it holds as many rows as the model takes
    SHAPE = "shape"  # the next rows waiting have another shape
    IDLE = "idle"  # nothing else waited, and nothing was to be waited for
    DELAY = "delay"  # the delay of the settings was over


@dataclass(slots=True)
class Duration:
    """How often something was done, and how long it took altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, times: int = 1) -> None:
        """Counts one more, or as many of the same."""
        self.count += times
        self.ns += ns * times

    def document(self) -> dict[str, int]:
        """As the protocol writes it."""
        return {"count": self.count, "ns": self.ns}


class Histogram:
    """How many values lie at or below each bound, one more class for those above all, the sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def below(self, bounds: Sequence[float]) -> list[int]:
        """How many values lie at or below each of `bounds`, which are among the histogram's."""
        return [sum(self.counts[: self.bounds.index(bound) + 1]) for bound in bounds]


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the network: how many rows of requests it answered, and what it took."""

    rows: int
    release: Release
    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass(slots=True)
class BatchStatistics:
    """The executions of one batch size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def add(self, execution: Execution, times: int = 1) -> None:
        """Counts one more, or as many of the same."""
        self.compute_input.add(execution.input_ns, times)
        self.compute_infer.add(execution.infer_ns, times)
        self.compute_output.add(execution.output_ns, times)

    def document(self) -> dict[str, dict[str, int]]:
        """As the protocol writes it."""
        return {
            "compute_input": self.compute_input.document(),
            "compute_infer": self.compute_infer.document(),
            "compute_output": self.compute_output.document(),
        }


class ModelStatistics:
    """The counters of one version of a model since it was loaded."""

    def __init__(self) -> None:
        self.inference_count = 0  # rows answered
        self.execution_count = 0  # runs of the network
        self.last_inference = 0  # milliseconds since 1970; 0 before the first
        self.success, self.fail, self.queue = Duration(), Duration(), Duration()
        self.compute = BatchStatistics()  # counted per request, as the protocol has it
        self.batches: dict[int, BatchStatistics] = {}
        self.failures: Counter[Failure] = Counter()
        self.releases: Counter[Release] = Counter()
        self.queue_seconds, self.compute_seconds = Histogram(SECONDS), Histogram(SECONDS)
        self.request_seconds, self.batch_rows = Histogram(LATENCY), Histogram(ROWS)

    def executed(self, execution: Execution, now_ms: int) -> None:
        """Counts a run of the network that succeeded."""
        self.execution_count += 1
        self.inference_count += execution.rows
        self.last_inference = now_ms
        self.releases[execution.release] += 1
        self.batch_rows.add(execution.rows)
        self.compute_seconds.add(execution.infer_ns / _NS)
        batch = self.batches.get(execution.rows)
        if batch is None:
            batch = self.batches[execution.rows] = BatchStatistics()
        batch.add(execution)

    def answered(self, total_ns: int, queue_ns: int) -> None:
        """Counts a request that was answered."""
        self.success.add(total_ns)
        self.queue.add(queue_ns)
        self.queue_seconds.add(queue_ns / _NS)
        self.request_seconds.add(total_ns / _NS)

    def computed(self, execution: Execution, requests: int) -> None:
        """Counts the execution that held the last rows of so many answered requests."""
        self.compute.add(execution, requests)

    def failed(self, total_ns: int, failure: Failure) -> None:
        """Counts a request that was not answered."""
        self.fail.add(total_ns)
        self.failures[failure] += 1

    def document(self) -> dict[str, Any]:
        """What the statistics extension says of a version, but for its name and number."""
        none = {"count": 0, "ns": 0}  # there is no cache
        return {
            "last_inference": self.last_inference,
            "inference_count": self.inference_count,
            "execution_count": self.execution_count,
            "inference_stats": {
                "success": self.success.document(),
                "fail": self.fail.document(),
                "queue": self.queue.document(),
                **self.compute.document(),
                "cache_hit": none,
                "cache_miss": none,
            },
            "response_stats": {},
            "batch_stats": [
                {"batch_size": rows, **self.batches[rows].document()}
                for rows in sorted(self.batches)
            ],
            "memory_usage": [],
            "latency_histogram": {
                "bounds_ns": [round(bound * _NS) for bound in self.request_seconds.bounds],
                "counts": list(self.request_seconds.counts),
            },
        }


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The document of two workers together, from those of each."""
    batches = {batch["batch_size"]: batch for batch in first["batch_stats"]}
    for batch in second["batch_stats"]:
        size = batch["batch_size"]
        added = _sum(batches[size], batch) if size in batches else batch
        batches[size] = {**added, "batch_size": size}
    return {
        **first,
        "last_inference": max(first["last_inference"], second["last_inference"]),
        "inference_count": first["inference_count"] + second["inference_count"],
        "execution_count": first["execution_count"] + second["execution_count"],
        "inference_stats": _sum(first["inference_stats"], second["inference_stats"]),
        "batch_stats": [batches[size] for size in sorted(batches)],
        "latency_histogram": {
            **first["latency_histogram"],
            "counts": [
                sum(counts)
                for counts in zip(
                    *(one["latency_histogram"]["counts"] for one in (first, second)), strict=True
                )
            ],
        },
    }


def _sum(first: Any, second: Any) -> Any:
    if isinstance(first, dict):
        return {key: _sum(value, second[key]) for key, value in first.items()}
    return first + second
