"""The baseline as a bundle holds it."""

import numpy as np

from service.bundle import Bundle, Statistics
from service.drift.baseline import Baseline, LayerBaseline
from service.drift.causes import Input, Pictures
from service.manifest import Layer


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
    return Baseline(
        words.kind,
        words.images,
        layers,
        words.image_limit,
        words.image_rate,
        words.classes,
    )


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
