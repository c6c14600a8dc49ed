"""What a network's layers look like on the traffic that it was normalized for.

For each layer and channel, over N reference images: the mean μ₀ and variance v₀ of the normalized
activation, and how far an image's own mean m and its influence on the variance, ψ = q - 2·μ₀·m
(q the image's mean square), spread between images. The sample is the image, not the pixel: pixels
of one image are not independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.drift.changes import Signatures

Vector = NDArray[np.float64]

# Channels that say nothing: constant ones, and those whose scale is as good as zero.
_LEAST_VARIANCE = 1e-10
_LEAST_SCALE = 1e-3  # of the layer's median |scale|


@dataclass(frozen=True, eq=False)
class LayerBaseline:
    """One layer on the reference images; all vectors [C].

    `mean` and `var` are μ₀ and v₀; `mean_spread` and `var_spread` the variances between images of m
    and ψ; `mean_degrees` and `var_degrees` the effective degrees of freedom of the channels of each
    (Satterthwaite: C² / Σ R², R their correlation); the floors are the smallest effects that are
    called drift; `distance` is what 99.9 % of the images' distances stay below. `calibration` has,
    for windows of n images, by what the thresholds of mean and variance grow, (n, mean, variance),
    so that false alarms are as frequent as they should be: with few images the averages are not yet
    normal, and channels that hardly ever fire are less so than others.
    """

    name: str
    mean: Vector
    var: Vector
    mean_spread: Vector
    var_spread: Vector
    scale: Vector
    mean_degrees: float
    var_degrees: float
    mean_floor: float
    var_floor: float
    distance: float
    calibration: tuple[tuple[int, float, float], ...] = ()

    def growth(self, rows: int) -> tuple[float, float]:
        """The factors of both thresholds for a window of `rows` images, linear in 1/n between the
        sizes that were calibrated; beyond the largest, its own."""
        if not self.calibration:
            return 1.0, 1.0
        sizes, *factors = zip(*sorted(self.calibration, reverse=True), strict=True)
        inverse = [1 / size for size in sizes]
        mean, variance = (float(np.interp(1 / rows, inverse, factor)) for factor in factors)
        return mean, variance

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """The channels that take part in the scores, [C]."""
        size = np.abs(self.scale)
        used: NDArray[np.bool_] = (
            (self.var > _LEAST_VARIANCE)
            & (size >= _LEAST_SCALE * np.median(size))
            & (self.mean_spread > 0)
            & (self.var_spread > 0)
        )
        return used

    def distances(self, means: NDArray[np.floating]) -> Vector:
        """How far each image's own channel means [n, C] are from μ₀: the average over the channels
        of (m - μ₀)²/S, [n]; about 1 for images like those of the reference."""
        if not self.used.any():
            return np.zeros(len(means))
        away = means[:, self.used] - self.mean[self.used]
        result: Vector = (away**2 / self.mean_spread[self.used]).mean(axis=1)
        return result


@dataclass(frozen=True, eq=False)
class Baseline:
    """All layers, in network order, and what is known of the images as a whole.

    `images` is N, where images came in groups of like ones that of the groups; `kind` tells whether
    it was measured on images, or computed from the scales and biases alone. An image whose largest
    distance, as a share of the layers' own, is beyond `image_limit` is an outlier; `image_rate` of
    the reference images are. `classes` counts their predicted classes, where the network
    classifies; `signatures` are those of known changes, where the images are pictures.
    """

    kind: Literal["measured", "analytic"]
    images: int
    layers: tuple[LayerBaseline, ...]
    image_limit: float
    image_rate: float
    classes: tuple[int, ...] | None = None
    signatures: Signatures | None = None

    @cached_property
    def places(self) -> Mapping[str, slice]:
        """Where each layer's channels are in a vector of all channels."""
        places, start = {}, 0
        for layer in self.layers:
            places[layer.name] = slice(start, start + len(layer.mean))
            start += len(layer.mean)
        return places

    @property
    def channels(self) -> int:
        """Channels of all layers together."""
        return sum(len(layer.mean) for layer in self.layers)

    def unlikeness(self, means: NDArray[np.floating]) -> Vector:
        """How unlike every kind of image of the reference each image is, [n]: its largest distance
        over the layers, as a share of the layer's own; `means` [n, channels]."""
        worst = np.zeros(len(means))
        for layer in self.layers:
            if layer.distance > 0:
                share = layer.distances(means[:, self.places[layer.name]]) / layer.distance
                worst = np.maximum(worst, share)
        return worst

    def outliers(self, means: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which images are outliers; `means` [n, channels]."""
        result: NDArray[np.bool_] = self.unlikeness(means) > self.image_limit
        return result
