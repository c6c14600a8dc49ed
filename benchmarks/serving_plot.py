"""The plot of the serving benchmark: throughput and p99 against the number of clients."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, ScalarFormatter
from serving_peers import OURS, OURS_TWICE, Peer
from serving_table import Column, Found

_FORMS = ("JSON", "binary")
_GAP = 0.048  # between names, in shares of the axis
_OURS, _LIMIT = "#c0392b", "#999999"
_OTHERS = ("#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e08214", "#d6338a", "#17a2b8", "#222222")

Curve = dict[int, tuple[float, float]]  # clients: requests/s, p99 in ms


def plot(found: Found, network: str, file: Path) -> None:
    """Writes a picture with a line for each server, in what is its best setting at the point."""
    every = (peer for _, peer in found if peer.forms and peer is not OURS_TWICE)
    names = dict.fromkeys(peer.name for peer in every)
    others = [name for name in names if name not in (OURS.name, "uvicorn")]
    colours = {OURS.name: _OURS, "uvicorn": _LIMIT, **dict(zip(others, _OTHERS, strict=False))}
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 9), sharex=True, sharey="row")
    for number, form in enumerate(_FORMS):
        curves = {name: curve for name in names if (curve := _curve(found, form, name))}
        for row, axis in enumerate(axes[:, number]):
            _lines(axis, curves, row, colours)
        axes[0, number].set_title(f"{network}, {form}", loc="left", fontweight="bold")
        axes[1, number].set_xlabel("clients, each with one request at a time")
    axes[0, 0].set_ylabel("requests/s")
    axes[1, 0].set_ylabel("p99, ms")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, facecolor="white")
    pyplot.close(figure)


def _lines(axis: Axes, curves: dict[str, Curve], row: int, colours: dict[str, str]) -> None:
    for name, curve in curves.items():
        width = 2.8 if name == OURS.name else 1.3
        style = ":" if name == "uvicorn" else "-"
        values = [point[row] for point in curve.values()]
        axis.plot(list(curve), values, style, marker="o", ms=3, color=colours[name], lw=width)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    clients = sorted({number for curve in curves.values() for number in curve})
    axis.set_xticks(clients)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.set_xlim(clients[0] * 0.9, clients[-1] * 5)  # room for the names
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    _names(axis, curves, row, colours)


def _names(axis: Axes, curves: dict[str, Curve], row: int, colours: dict[str, str]) -> None:
    """Names at the ends of the lines, moved apart."""
    ends = sorted((list(curve.values())[-1][row], name) for name, curve in curves.items())
    low, high = (math.log10(limit) for limit in axis.get_ylim())
    wished = [(math.log10(value) - low) / (high - low) for value, _ in ends]
    right = max(clients for curve in curves.values() for clients in curve) * 1.35
    for place, (value, name) in zip(apart(wished, _GAP), ends, strict=True):
        last = list(curves[name])[-1]
        text = "uvicorn without a model" if name == "uvicorn" else name
        axis.annotate(
            text,
            (last, value),
            xytext=(right, 10 ** (low + place * (high - low))),
            textcoords="data",
            va="center",
            fontsize=9,
            fontweight="bold" if name == OURS.name else "normal",
            color=colours[name],
            arrowprops={"arrowstyle": "-", "color": colours[name], "lw": 0.5, "alpha": 0.6},
        )


def apart(wished: Sequence[float], gap: float) -> list[float]:
    """Ascending places in 0…1, at least a gap from each other, near those wished."""
    places: list[float] = []
    for wish in wished:
        places.append(max(wish, places[-1] + gap) if places else wish)
    for number in reversed(range(len(places))):
        above = places[number + 1] - gap if number + 1 < len(places) else 1.0
        places[number] = min(places[number], above)
    return places


def _curve(found: Found, form: str, name: str) -> Curve:
    curve: Curve = {}
    for column, peer in sorted(found, key=_clients):
        results = [result for result in found[column, peer] if result.per_s]
        if column.form == form and peer.name == name and results:
            rate = median(result.per_s for result in results)
            p99 = median(result.p99_ms for result in results)
            if rate > curve.get(column.clients, (0.0, 0.0))[0]:
                curve[column.clients] = rate, p99
    return curve


def _clients(key: tuple[Column, Peer]) -> int:
    return key[0].clients
