"""The tables and the plot of the serving benchmark."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from serving_load import Measured
from serving_peers import OURS, Peer

LIMITS = (
    Peer("ONNX Runtime alone", "one run on all threads", "", "", {}),
    Peer("ONNX Runtime alone", "a run on each thread", "", "", {}),
)
_NO_RIVAL = ("uvicorn",)  # answers nothing: a limit


@dataclass(frozen=True, order=True)
class Column:
    """What a server is measured at."""

    clients: int
    form: str


Found = defaultdict[tuple[Column, Peer], list[Measured]]


def limit(per_s: float) -> Measured:
    """A rate without requests."""
    return Measured(per_s, 1000 / per_s, float("nan"), 0)


def head() -> list[str]:
    """Of the table with everything."""
    names = ("network", "clients", "server", "setting", "tensors")
    return _head((*names, "requests/s", "p50 ms", "p99 ms", "errors"))


def rows(network: str, found: Found) -> list[str]:
    """Medians over the rounds."""
    return [
        _row(
            (network, column.clients, peer.name, peer.setting, column.form),
            f"{_rate(results):.0f}",
            _milliseconds(result.p50_ms for result in results),
            _milliseconds(result.p99_ms for result in results),
            sum(result.errors for result in results),
        )
        for (column, peer), results in sorted(found.items(), key=lambda item: item[0][0])
    ]


def head_of_best() -> list[str]:
    """Of the table that holds ours against the best of the others."""
    names = ("network", "clients", "tensors", "foldserve", "best of the others", "its requests/s")
    limits = ("÷ ONNX Runtime on all threads", "÷ … a run on each thread")
    return _head((*names, "foldserve ÷ best", *limits, "p50 ms", "p99 ms"))


def against_best(network: str, found: Found) -> list[str]:
    """One row a column; ratios are medians of the ratios within each round."""
    columns = sorted(column for column, peer in found if peer is OURS)
    lines = []
    for column in columns:
        ours = found[column, OURS]
        rivals = [
            (peer, results)
            for (other, peer), results in found.items()
            if other == column and peer is not OURS and peer.name not in _NO_RIVAL
        ]
        bare = [found[Column(column.clients, "–"), peer] for peer in LIMITS]
        best = max(rivals, key=lambda rival: _rate(rival[1]), default=None)
        lines.append(
            _row(
                (network, column.clients, column.form, f"{_rate(ours):.0f}"),
                f"{best[0].name}, {best[0].setting}" if best else "–",
                f"{_rate(best[1]):.0f}" if best else "–",
                _ratio(ours, best[1]) if best else "–",
                *(_ratio(ours, results) for results in bare),
                _milliseconds(result.p50_ms for result in ours),
                _milliseconds(result.p99_ms for result in ours),
            )
        )
    return lines


def head_of_rates() -> list[str]:
    """Of the table at a fixed rate."""
    return _head(("network", "requests/s sent", "tensors", "p50 ms", "p99 ms", "errors"))


def rate_row(network: str, per_s: int, form: str, results: Sequence[Measured]) -> str:
    """Medians over the rounds."""
    return _row(
        (network, per_s, form),
        _milliseconds(result.p50_ms for result in results),
        _milliseconds(result.p99_ms for result in results),
        sum(result.errors for result in results),
    )


def plot(found: Found, network: str, file: Path) -> None:
    """Throughput and p99 against the number of clients, each server in its best setting."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import ScalarFormatter

    names = list(dict.fromkeys(peer.name for _, peer in found))
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), sharex=True, sharey="row")
    for number, form in enumerate(("JSON", "binary")):
        for name in names:
            curve = _best_curve(found, form, name)
            style = {"color": colours[name], "linewidth": 2.5 if name == OURS.name else 1.2}
            if name in _NO_RIVAL:
                style |= {"color": "grey", "linestyle": ":"}
            label = f"{name}, answering nothing" if name in _NO_RIVAL else name
            clients = [column.clients for column in curve]
            rates = [result.per_s for result in curve.values()]
            p99 = [result.p99_ms for result in curve.values()]
            for axis, values in zip(axes[:, number], (rates, p99), strict=True):
                axis.plot(clients, values, marker="o", markersize=3, label=label, **style)
        axes[0, number].set_title(f"{network}, {form}")
        axes[1, number].set_xlabel("clients")
    axes[0, 0].set_ylabel("requests/s")
    axes[1, 0].set_ylabel("p99, ms")
    axes[0, 0].set_xscale("log", base=2)
    axes[0, 0].xaxis.set_major_formatter(ScalarFormatter())
    for axis in axes.flat:
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def _best_curve(found: Found, form: str, name: str) -> dict[Column, Measured]:
    curve: dict[Column, Measured] = {}
    for (column, peer), results in sorted(found.items(), key=lambda item: item[0][0]):
        if column.form == form and peer.name == name:
            best = max([*results, *filter(None, [curve.get(column)])], key=lambda r: r.per_s)
            curve[column] = best
    return curve


def _rate(results: Iterable[Measured]) -> float:
    return median(result.per_s for result in results)


def _ratio(ours: Sequence[Measured], theirs: Sequence[Measured]) -> str:
    return f"{median(a.per_s / b.per_s for a, b in zip(ours, theirs, strict=True)):.2f}"


def _milliseconds(values: Iterable[float]) -> str:
    value = median(values)
    return "–" if value != value else f"{value:.2f}"


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|" + "---|" * len(names)]


def _row(first: Iterable[object], *more: object) -> str:
    return f"| {' | '.join(map(str, (*first, *more)))} |"
