"""The baseline without data: what the layers' own parameters lead to expect."""

from collections.abc import Iterable

import numpy as np

from service.drift.baseline import Baseline, LayerBaseline
from training.fold import Normalization

FLOOR = 0.25
# The statistics of training come from many more images; this only keeps 1/N from being zero.
IMAGES = 1_000


def analytic(normalizations: Iterable[Normalization]) -> Baseline:
    """What the layers' parameters alone lead to expect: mean β and variance γ²·σ²/(σ² + ε).

    How far images differ is not known: each is taken as one draw of the activation (S = v, and 2·v²
    for the influence on the variance), and the channels as one. That never alarms by chance, and
    needs larger shifts.
    """
    layers = []
    for norm in normalizations:
        var = norm.scale**2 * norm.var / (norm.var + norm.epsilon)
        layers.append(
            LayerBaseline(
                norm.name,
                mean=norm.bias.astype(np.float64),
                var=var.astype(np.float64),
                mean_spread=var.astype(np.float64),
                var_spread=2.0 * var.astype(np.float64) ** 2,
                scale=norm.scale.astype(np.float64),
                mean_degrees=1.0,
                var_degrees=1.0,
                mean_floor=FLOOR,
                var_floor=FLOOR,
                distance=0.0,
            )
        )
    return Baseline("analytic", IMAGES, tuple(layers), image_limit=1.0, image_rate=0.01)
