"""A bundle with a baseline, made by the toolkit from a small network with hostile statistics."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.graphs import Builder
from tests.servers import poll
from training.baseline import Reference
from training.bundle import Description, write_bundle

NAME, CHANNELS, SIZE = "watched", 3, 8
ROUTE = f"/v2/models/{NAME}"
LAYERS = ["first", "second", "third"]
Rows = NDArray[np.float32]


def images(count: int, seed: int, shift: float = 0.0, gain: float = 1.0) -> Rows:
    """Images [count, 3, 8, 8] that are bright or dark as a whole, and smooth."""
    random = np.random.default_rng(seed)
    light = random.normal(0.4, 0.5, (count, CHANNELS, 1, 1))
    pixels = random.normal(0, 0.5, (count, CHANNELS, SIZE, SIZE)) + light
    return (gain * pixels + shift).astype(np.float32)


def write_watched(models: Path, measured: bool = True) -> Path:
    """Writes `watched/1`; without a measured baseline it has the analytic one."""
    builder, data, width = Builder(3), "image", CHANNELS
    for index, layer in enumerate(LAYERS):
        weight = builder.weight(f"w{index}", 8, width, 3, 3)
        data = builder.op("Conv", [data, weight], f"c{index}", pads=[1] * 4)
        statistics = {
            "scale": builder.random.uniform(0.5, 1.5, 8).astype(np.float32),
            "bias": builder.random.normal(0, 0.5, 8).astype(np.float32),
            "mean": builder.random.normal(0, 1, 8).astype(np.float32),
            "var": builder.random.uniform(4, 9, 8).astype(np.float32),
        }
        data = builder.op("Relu", [builder.normalize(data, layer, statistics)], f"r{index}")
        width = 8
    builder.op("Flatten", [builder.op("GlobalAveragePool", [data], "pooled")], "flat")
    builder.op("Gemm", ["flat", builder.weight("head", 8, 4)], "scores")
    model = builder.model({"image": ["N", CHANNELS, SIZE, SIZE]}, ["scores"])
    reference = Reference({"image": images(1500, 0)}, "drawn images") if measured else None
    return write_bundle(model, Description(NAME), models, reference=reference).folder


def drift_of(client: httpx.Client, rows: int) -> dict[str, Any]:
    """The drift of the watched model, once so many rows have been seen."""
    found: dict[str, Any] = {}

    def enough() -> bool:
        found.update(client.get(f"{ROUTE}/drift").json())
        return bool(found["n"] >= rows)

    poll(enough, f"{rows} watched rows")
    return found
