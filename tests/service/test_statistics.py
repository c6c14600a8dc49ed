"""The counters of a version, in the words of the statistics extension."""

from itertools import pairwise

import pytest

from service.statistics import (
    LATENCY,
    SECONDS,
    Execution,
    Failure,
    Histogram,
    ModelStatistics,
    Release,
    merge,
)


def test_executions_and_requests_are_counted_as_the_protocol_has_it() -> None:
    """Two requests in one batch of 3 rows, then one of 1 row, then one that failed."""
    statistics = ModelStatistics()
    three = Execution(3, Release.IDLE, 10, 100, 20)
    one = Execution(1, Release.FULL, 1, 50, 2)
    statistics.executed(three, now_ms=7)
    statistics.answered(total_ns=200, queue_ns=5)
    statistics.answered(total_ns=201, queue_ns=6)
    statistics.computed(three, requests=2)
    statistics.executed(one, now_ms=9)
    statistics.answered(total_ns=70, queue_ns=0)
    statistics.computed(one, requests=1)
    statistics.failed(total_ns=30, failure=Failure.DEADLINE)
    document = statistics.document()
    assert document["inference_count"] == 4  # rows
    assert document["execution_count"] == 2
    assert document["last_inference"] == 9
    assert document["inference_stats"] == {
        "success": {"count": 3, "ns": 471},
        "fail": {"count": 1, "ns": 30},
        "queue": {"count": 3, "ns": 11},
        "compute_input": {"count": 3, "ns": 21},
        "compute_infer": {"count": 3, "ns": 250},
        "compute_output": {"count": 3, "ns": 42},
        "cache_hit": {"count": 0, "ns": 0},
        "cache_miss": {"count": 0, "ns": 0},
    }
    assert document["batch_stats"] == [
        {
            "batch_size": 1,
            "compute_input": {"count": 1, "ns": 1},
            "compute_infer": {"count": 1, "ns": 50},
            "compute_output": {"count": 1, "ns": 2},
        },
        {
            "batch_size": 3,
            "compute_input": {"count": 1, "ns": 10},
            "compute_infer": {"count": 1, "ns": 100},
            "compute_output": {"count": 1, "ns": 20},
        },
    ]
    assert statistics.failures == {Failure.DEADLINE: 1}
    assert statistics.releases == {Release.IDLE: 1, Release.FULL: 1}


def test_documents_of_two_workers_are_one() -> None:
    """The same as if one had done the work of both."""
    apart, together = (ModelStatistics(), ModelStatistics()), ModelStatistics()
    for number, rows in enumerate((1, 3, 3, 8)):
        execution = Execution(rows, Release.IDLE, 1, 10 * rows, 2)
        for statistics in (apart[number % 2], together):
            statistics.executed(execution, now_ms=number)
            statistics.answered(20 * rows, 5)
            statistics.computed(execution, 1)
    apart[0].failed(7, Failure.FAILED)
    together.failed(7, Failure.FAILED)
    assert merge(apart[0].document(), apart[1].document()) == together.document()


@pytest.mark.parametrize(
    ("value", "place"), [(0.5, 0), (1, 0), (1.001, 1), (2, 1), (5, 2), (5.1, 3)]
)
def test_a_bound_belongs_to_its_class(value: float, place: int) -> None:
    """As Prometheus has it: `le` is less or equal."""
    histogram = Histogram((1, 2, 5))
    histogram.add(value)
    assert histogram.counts.index(1) == place
    assert histogram.total == value


def test_latencies_are_in_classes_that_hold_those_of_the_metrics() -> None:
    """A class is at most 30 % wide, so that percentiles can be read from it."""
    assert set(SECONDS) <= set(LATENCY)
    assert max(upper / lower for lower, upper in pairwise(LATENCY)) < 1.3
    statistics = ModelStatistics()
    for ns in (50_000, 100_000, 100_001, 3_000_000, 20_000_000_000):
        statistics.answered(ns, 5)
    found = statistics.document()["latency_histogram"]
    assert found["bounds_ns"][:3] == [100_000, 125_000, 160_000]
    at = dict(zip([*found["bounds_ns"], "above"], found["counts"], strict=True))
    assert {bound: n for bound, n in at.items() if n} == {
        100_000: 2,
        125_000: 1,
        3_150_000: 1,
        "above": 1,
    }
    assert statistics.request_seconds.below(SECONDS)[:5] == [2, 3, 3, 3, 3]
    assert statistics.request_seconds.below((5e-3, 10)) == [4, 4]
