"""The tables of the serving benchmark."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from serving_load import Measured
from serving_peers import OURS, OURS_TWICE, Peer
from serving_targets import Target

_ALONE = "ONNX Runtime alone"
LIMITS = (
    Peer(_ALONE, "one run on all threads", "", "", {}, rival=False),
    Peer(_ALONE, "a run on each thread", "", "", {}, rival=False),
)
BATCH_LIMITS = (
    Peer(_ALONE, "one run on all threads, 32 rows", "", "", {}, rival=False),
    Peer(_ALONE, "a run on each thread, 32 rows", "", "", {}, rival=False),
)


@dataclass(frozen=True, order=True)
class Column:
    """What a server is measured at."""

    clients: int
    form: str


Found = defaultdict[tuple[Column, Peer], list[Measured]]


@dataclass
class Tables:
    """What is printed, filled network by network; ratios are medians of those of each round."""

    best: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    rates: list[str] = field(default_factory=list)
    befell: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    every: list[str] = field(default_factory=list)

    def add(self, network: str, found: Found) -> None:
        """The rows of a network."""
        self.best += _against_best(network, found)
        self.twice += _twice(network, found)
        self.every += _rows(network, found)

    def add_servers(self, network: str, targets: Iterable[Target]) -> None:
        """What befell servers, and what those took that are never stopped."""
        for target in targets:
            row = (network, target.peer.name, target.peer.setting)
            if target.befell:
                times = f"{len(target.befell)} times; first: " if len(target.befell) > 1 else ""
                self.befell.append(_row(row, times + target.befell[0]))
            if not target.peer.sleeps:
                self.idle.append(_row(row, f"{target.server.idle_share:.3f}"))

    def __str__(self) -> str:
        limits = ("÷ ONNX Runtime on all threads", "÷ … a run on each thread")
        ours = ("network", "clients", "tensors", "foldserve", "best of the others")
        ratios = ("its requests/s", "foldserve ÷ best", "with 2 workers", *limits)
        best = (*ours, *ratios, "p50 ms", "p99 ms", "errors")
        twice = ("network", "clients", "tensors", "1 worker", "2 workers", "2 ÷ 1", "errors")
        rates = ("network", "requests/s sent", "tensors", "p50 ms", "p99 ms", "errors")
        befell = ("network", "server", "setting", "what befell it")
        idle = ("network", "not stopped", "setting", "processors taken while others are measured")
        every = ("network", "clients", "server", "setting", "tensors", "requests/s")
        tables = (
            (best, self.best),
            (twice, self.twice),
            (rates, self.rates),
            (befell, self.befell),
            (idle, self.idle),
            ((*every, "p50 ms", "p99 ms", "errors"), self.every),
        )
        return "\n\n".join("\n".join([*_head(names), *rows]) for names, rows in tables if rows)


def rate_row(network: str, per_s: int, form: str, results: Sequence[Measured]) -> str:
    """Medians over the rounds."""
    return _row((network, per_s, form), *_latencies(results), _errors(results))


def _rows(network: str, found: Found) -> list[str]:
    return [
        _row(
            (network, column.clients, peer.name, peer.setting, column.form),
            f"{_rate(results):.0f}",
            *_latencies(results),
            _errors(results),
        )
        for (column, peer), results in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _against_best(network: str, found: Found) -> list[str]:
    lines = []
    for column in sorted(column for column, peer in found if peer is OURS):
        ours, twice = found[column, OURS], found.get((column, OURS_TWICE))
        rivals = [
            (peer, results)
            for (other, peer), results in found.items()
            if other == column and peer is not OURS and peer.rival and _rate(results)
        ]
        bare = [found[Column(column.clients, "–"), peer] for peer in LIMITS]
        best = max(rivals, key=lambda rival: _rate(rival[1]), default=None)
        lines.append(
            _row(
                (network, column.clients, column.form, f"{_rate(ours):.0f}"),
                f"{best[0].name}, {best[0].setting}" if best else "–",
                f"{_rate(best[1]):.0f}" if best else "–",
                _ratio(ours, best[1]) if best else "–",
                _ratio(twice, best[1]) if best and twice else "–",
                *(_ratio(ours, results) for results in bare),
                *_latencies(ours),
                _errors(ours),
            )
        )
    return lines


def _twice(network: str, found: Found) -> list[str]:
    lines = []
    for column in sorted(column for column, peer in found if peer is OURS_TWICE):
        once, twice = found[column, OURS], found[column, OURS_TWICE]
        rates = (f"{_rate(once):.0f}", f"{_rate(twice):.0f}", _ratio(twice, once))
        lines.append(_row((network, column.clients, column.form), *rates, _errors(twice)))
    return lines


def _rate(results: Iterable[Measured]) -> float:
    return median(result.per_s for result in results)


def _ratio(ours: Sequence[Measured], theirs: Sequence[Measured]) -> str:
    """Over the rounds in which both answered."""
    pairs = [(a.per_s, b.per_s) for a, b in zip(ours, theirs, strict=True) if a.per_s and b.per_s]
    return f"{median(a / b for a, b in pairs):.2f}" if pairs else "–"


def _latencies(results: Sequence[Measured]) -> tuple[str, str]:
    return _milliseconds([r.p50_ms for r in results]), _milliseconds([r.p99_ms for r in results])


def _errors(results: Iterable[Measured]) -> int:
    return sum(result.errors for result in results)


def _milliseconds(values: Iterable[float]) -> str:
    known = [value for value in values if value == value]
    return f"{median(known):.2f}" if known else "–"


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|" + "---|" * len(names)]


def _row(first: Iterable[object], *more: object) -> str:
    return f"| {' | '.join(map(str, (*first, *more)))} |"
