"""A stretch of traffic as plain values: for another worker of the service, or for a file."""

from typing import Any

import numpy as np

from service.drift.monitor import Stretch
from service.drift.window import Window

Plain = dict[str, Any]


def to_plain(stretch: Stretch) -> Plain:
    """JSON's own types."""
    return {"layers": _window(stretch.layers), "input": _window(stretch.input)}


def from_plain(plain: Plain) -> Stretch:
    """The stretch that `to_plain` wrote."""
    return Stretch(_read(plain["layers"]), _read(plain["input"]))


def _window(window: Window) -> Plain:
    return {
        "channels": window.channels,
        "started": window.started,
        "rows": window.rows,
        "outliers": window.outliers,
        "nonfinite": window.nonfinite,
        "mean": window.mean.tolist(),
        "mean_square": window.mean_square.tolist(),
        "classes": window.classes.tolist(),
    }


def _read(plain: Plain) -> Window:
    return Window(
        channels=int(plain["channels"]),
        started=float(plain["started"]),
        rows=int(plain["rows"]),
        outliers=int(plain["outliers"]),
        nonfinite=int(plain["nonfinite"]),
        mean=np.asarray(plain["mean"], np.float64),
        mean_square=np.asarray(plain["mean_square"], np.float64),
        classes=np.asarray(plain["classes"], np.int64),
    )
