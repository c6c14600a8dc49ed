"""The baseline as a bundle holds it."""

from dataclasses import replace

import numpy as np

from service.bundle import Bundle, Statistics, read_arrays
from service.drift.baseline import Baseline, LayerBaseline
from service.drift.causes import Input, Pictures
from service.drift.changes import WORDS, Signatures
from service.errors import BadBundle
from service.manifest import SIGNATURES, Layer

SIGNATURE_FIELDS = (
    "mean_filter",
    "influence_filter",
    "mean_direction",
    "influence_direction",
    "spread",
    "skewness",
    "kurtosis",
    "floor",
)


def read_baseline(bundle: Bundle) -> Baseline | None:
    """The baseline of all watched layers, in network order; None where the bundle has none."""
    words = bundle.manifest.baseline
    layers = tuple(
        _read_layer(layer, bundle.statistics[layer.name])
        for layer in bundle.layers
        if layer.baseline is not None and layer.probe is not None
    )
    if words is None or not layers:
        return None
    baseline = Baseline(
        words.kind,
        words.images,
        layers,
        words.image_limit,
        words.image_rate,
        words.classes,
    )
    return replace(baseline, signatures=_read_signatures(bundle, baseline.channels))


def _read_signatures(bundle: Bundle, channels: int) -> Signatures | None:
    """The signatures of known changes; None where the bundle has none."""
    if SIGNATURES not in bundle.manifest.files:
        return None
    arrays = read_arrays(SIGNATURES, bundle.read(SIGNATURES))
    names = arrays.get("changes", np.empty(0))
    changes = tuple(map(str, names.ravel()))
    if names.ndim != 1 or not changes or not set(changes) <= WORDS.keys():
        expected = ", ".join(WORDS)
        raise BadBundle(f"{SIGNATURES}: expected changes among {expected}; got {changes}")
    if len(set(changes)) < len(changes):
        raise BadBundle(f"{SIGNATURES}: expected different changes, got {changes}")
    count, found = len(changes), {}
    for name in SIGNATURE_FIELDS:
        shape = (count, channels) if name in SIGNATURE_FIELDS[:4] else (count,)
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype.kind != "f":
            got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise BadBundle(
                f"{SIGNATURES}: expected {name} as floating point {list(shape)}, got {got}"
            )
        if not np.isfinite(array).all() or (name == "spread" and array.min() <= 0):
            kind = "positive" if name == "spread" else "finite"
            raise BadBundle(f"{SIGNATURES}: expected {name} to be {kind} numbers")
        found[name] = array
    return Signatures(changes, **found)


def read_input(bundle: Bundle) -> Input | None:
    """Mean and deviation of the input over the reference images, where the bundle has them."""
    words = bundle.manifest.baseline
    if words is None or words.input is None:
        return None
    return Input(np.asarray(words.input.mean), np.asarray(words.input.std))


def read_pictures(bundle: Bundle) -> Pictures | None:
    """What the preprocessing subtracts and divides by, where the bundle takes pictures."""
    how = bundle.manifest.preprocessing
    return None if how is None else Pictures(np.asarray(how.mean), np.asarray(how.std))


def _read_layer(layer: Layer, arrays: Statistics) -> LayerBaseline:
    words = layer.baseline
    assert words is not None  # chosen by the caller
    return LayerBaseline(
        name=layer.name,
        mean=arrays["baseline_mean"].astype(np.float64),
        var=arrays["baseline_var"].astype(np.float64),
        mean_spread=arrays["baseline_mean_spread"].astype(np.float64),
        var_spread=arrays["baseline_var_spread"].astype(np.float64),
        scale=arrays["scale"].astype(np.float64),
        mean_degrees=words.mean_degrees,
        var_degrees=words.var_degrees,
        mean_floor=words.mean_floor,
        var_floor=words.var_floor,
        distance=words.distance,
        calibration=words.calibration,
    )
