"""A stretch of traffic as plain values: for another worker of the service, or for a file.

The vectors are base64 of little-endian float64: exact, and a tenth of the time that decimal
digits take.
"""

import base64
from typing import Any

import numpy as np

from service.drift.baseline import Vector
from service.drift.monitor import Stretch
from service.drift.window import Window

Plain = dict[str, Any]


def to_plain(stretch: Stretch) -> Plain:
    """JSON's own types."""
    return {"layers": _window(stretch.layers), "input": _window(stretch.input)}


def from_plain(plain: Plain) -> Stretch:
    """The stretch that `to_plain` wrote; ValueError, TypeError or KeyError where it is another."""
    return Stretch(_read(plain["layers"]), _read(plain["input"]))


def _window(window: Window) -> Plain:
    return {
        "channels": window.channels,
        "started": window.started,
        "rows": window.rows,
        "outliers": window.outliers,
        "nonfinite": window.nonfinite,
        "mean": _to_text(window.mean),
        "mean_square": _to_text(window.mean_square),
        "classes": window.classes.tolist(),
    }


def _read(plain: Plain) -> Window:
    return Window(
        channels=int(plain["channels"]),
        started=float(plain["started"]),
        rows=int(plain["rows"]),
        outliers=int(plain["outliers"]),
        nonfinite=int(plain["nonfinite"]),
        mean=_from_text(plain["mean"], int(plain["channels"])),
        mean_square=_from_text(plain["mean_square"], int(plain["channels"])),
        classes=np.asarray(plain["classes"], np.int64),
    )


def _to_text(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f8").tobytes()).decode("ascii")


def _from_text(text: str, channels: int) -> Vector:
    vector: Vector = np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64)
    if vector.shape != (channels,) or not np.isfinite(vector).all():
        raise ValueError(f"expected {channels} finite numbers, got {vector.size}")
    return vector
