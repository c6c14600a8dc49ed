"""A healthy network for the doctor, with everything in it that a test may spoil."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.graphs import Array, Builder, run
from training.doctor import Diagnosis, Finding, Patient, examine, from_onnx
from training.doctor.rules import RULES

CHANNELS = 8
LAYERS = ("first", "second")
INPUT = [None, 3, 6, 6]


def rows(count: int = 1600, seed: int = 1) -> Array:
    """Pictures [N, 3, 6, 6] of a mean and a deviation that are not 0 and 1."""
    return np.random.default_rng(seed).normal(0.3, 0.7, (count, 3, 6, 6)).astype(np.float32)


def healthy(
    changes: Mapping[str, Array] | None = None,
    attributes: Mapping[str, Any] | None = None,
    activation: str = "Relu",
    bias: bool = False,
) -> onnx.ModelProto:
    """Conv → BN → Relu → Conv → BN → Relu → pool → Gemm, its statistics those of `rows()`.

    `changes` replaces constants by name (`first.var`, …), `attributes` are of both layers.
    """
    builder = _network(_STATISTICS | dict(changes or {}), attributes or {}, activation, bias)
    return builder.model({"x": ["batch", *INPUT[1:]]}, ["y"])


def _network(
    constants: Mapping[str, Array], attributes: Mapping[str, Any], activation: str, bias: bool
) -> Builder:
    builder = Builder(seed=3)
    data, channels = "x", 3
    for layer in LAYERS:
        weight = builder.weight(f"{layer}.weight", CHANNELS, channels, 3, 3)
        given = [data, weight] + ([builder.weight(f"{layer}.b", CHANNELS)] if bias else [])
        data = builder.op("Conv", given, f"{layer}.conv", pads=[1, 1, 1, 1])
        names = ("scale", "bias", "mean", "var")
        held = {name: constants[f"{layer}.{name}"] for name in names}
        data = builder.normalize(data, layer, held, **attributes)
        data = builder.op(activation, [data], f"{layer}.active")
        channels = CHANNELS
    data = builder.op("GlobalAveragePool", [data], "pooled")
    data = builder.op("Flatten", [data], "flat")
    builder.op("Gemm", [data, builder.weight("head", CHANNELS, 4)], "y")
    builder.constants |= {k: v for k, v in constants.items() if k in builder.constants}
    return builder


def _calibrated() -> dict[str, Array]:
    """The statistics of each layer's input over `rows()`, layer by layer, from the definition."""
    random = np.random.default_rng(5)
    constants: dict[str, Array] = {}
    for layer in LAYERS:
        constants |= {
            f"{layer}.scale": random.uniform(0.8, 1.2, CHANNELS).astype(np.float32),
            f"{layer}.bias": random.uniform(-0.2, 0.2, CHANNELS).astype(np.float32),
            f"{layer}.mean": np.zeros(CHANNELS, np.float32),
            f"{layer}.var": np.ones(CHANNELS, np.float32),
        }
    for layer in LAYERS:
        builder = _network(constants, {}, "Relu", bias=False)
        model = builder.model({"x": ["batch", *INPUT[1:]]}, ["y"])
        model.graph.output.append(helper.make_tensor_value_info(f"{layer}.conv", 1, None))
        data = run(model, x=rows())[1].astype(np.float64)
        constants[f"{layer}.mean"] = data.mean(axis=(0, 2, 3)).astype(np.float32)
        constants[f"{layer}.var"] = data.var(axis=(0, 2, 3)).astype(np.float32)
    return constants


_STATISTICS: dict[str, Array] = {}
_STATISTICS |= _calibrated()


def statistic(name: str) -> Array:
    """A copy of a constant of the healthy network, to be spoiled."""
    return _STATISTICS[name].copy()


def spoiled(name: str, channel: int, value: float) -> dict[str, Array]:
    """One constant with one other value."""
    array = statistic(name)
    array[channel] = value
    return {name: array}


def ask(patient: Patient | onnx.ModelProto, rule: str) -> tuple[Finding, ...]:
    """What one rule finds."""
    return diagnose(patient, rule).findings


def diagnose(patient: Patient | onnx.ModelProto, rule: str) -> Diagnosis:
    """What one rule says, and whether it could look."""
    shown = from_onnx(patient) if isinstance(patient, onnx.ModelProto) else patient
    return examine(shown, rules=[known for known in RULES if known.id == rule])
