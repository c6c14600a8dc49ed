"""The text for Prometheus, from the snapshots of all workers.

Apart from `metrics`, so that a service that nobody scrapes never loads what writes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from service.drift.verdict import Word
from service.metrics import (
    COUNTERS,
    DELIVERIES,
    DRIFT,
    GAUGES,
    HISTOGRAMS,
    LAYERS,
    PROCESS,
    REASONS,
    RESPONSES,
    VERDICTS,
    Snapshot,
)

_MODEL = ("model", "version", "worker")
_VERSION = ("model", "version")


def render(snapshots: Mapping[int, Snapshot]) -> bytes:
    """The text of all workers' snapshots, by their number."""
    registry = CollectorRegistry()
    registry.register(_Snapshots(snapshots))
    return generate_latest(registry)


class _Snapshots(Collector):
    def __init__(self, snapshots: Mapping[int, Snapshot]) -> None:
        self._snapshots = {str(number): snapshots[number] for number in sorted(snapshots)}

    def collect(self) -> Iterable[Metric]:
        """Every series of every worker."""
        yield from self._process()
        for name, text in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=_MODEL)
            for labels, numbers in self._models():
                counter.add_metric(labels, numbers[name])
            yield counter
        for name, text in REASONS.items():
            counter = CounterMetricFamily(name, text, labels=(*_MODEL, "reason"))
            for labels, numbers in self._models():
                for reason, count in numbers[name].items():
                    counter.add_metric([*labels, reason], count)
            yield counter
        for name, text in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=_MODEL)
            for labels, numbers in self._models():
                histogram.add_metric(labels, **_values(numbers[name]))
            yield histogram
        yield from self._gauges()
        yield from self._drift()

    def _process(self) -> Iterator[Metric]:
        for name, text in PROCESS.items():
            gauge = GaugeMetricFamily(name, text, labels=("worker",))
            for worker, snapshot in self._snapshots.items():
                gauge.add_metric([worker], snapshot["process"][name])
            yield gauge
        yield self._counted(RESPONSES, "responses", "status")

    def _gauges(self) -> Iterator[Metric]:
        waiting, load = GAUGES
        rows = GaugeMetricFamily(waiting, GAUGES[waiting], labels=_MODEL)
        seconds = GaugeMetricFamily(load, GAUGES[load], labels=(*_MODEL, "phase"))
        for labels, numbers in self._models():
            rows.add_metric(labels, numbers[waiting])
            for phase, value in numbers[load].items():
                seconds.add_metric([*labels, phase], value)
        yield from (rows, seconds)

    def _drift(self) -> Iterator[Metric]:
        """Has no worker: one of them looks at the traffic of all."""
        found = [one for snapshot in self._snapshots.values() for one in snapshot["drift"]]
        ((name, text),) = VERDICTS.items()
        verdicts = GaugeMetricFamily(name, text, labels=(*_VERSION, "verdict"))
        for one in found:
            for word in get_args(Word):
                labels = [one["model"], one["version"], word]
                verdicts.add_metric(labels, float(one[name] == word))
        yield verdicts
        for name, text in DRIFT.items():
            gauge = GaugeMetricFamily(name, text, labels=_VERSION)
            for one in found:
                gauge.add_metric([one["model"], one["version"]], one[name])
            yield gauge
        for name, text in LAYERS.items():
            gauge = GaugeMetricFamily(name, text, labels=(*_VERSION, "layer"))
            for one in found:
                for layer in one["layers"]:
                    labels = [one["model"], one["version"], layer["layer"]]
                    gauge.add_metric(labels, layer[name])
            yield gauge
        yield self._counted(DELIVERIES, "deliveries", "outcome")

    def _counted(self, described: Mapping[str, str], field: str, label: str) -> Metric:
        """What every worker counts by one label."""
        ((name, text),) = described.items()
        counter = CounterMetricFamily(name, text, labels=("worker", label))
        for worker, snapshot in self._snapshots.items():
            for value, count in snapshot[field].items():
                counter.add_metric([worker, value], count)
        return counter

    def _models(self) -> Iterator[tuple[list[str], Snapshot]]:
        for worker, snapshot in self._snapshots.items():
            for numbers in snapshot["models"]:
                yield [numbers["model"], numbers["version"], worker], numbers


def _values(histogram: Snapshot) -> dict[str, Any]:
    return {
        "buckets": [(bound, count) for bound, count in histogram["buckets"]],
        "sum_value": histogram["total"],
    }
