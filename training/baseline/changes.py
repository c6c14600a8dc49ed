"""The known changes, made to pictures as they go into the network.

They are after Hendrycks & Dietterich (2019) in kind, and of one strength each: what is much
stronger or weaker moves the layers in directions that are only alike. A picture's values are taken
back to the scale 0 to 1, changed, and brought to the network's scale again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.manifest import Preprocessing

Pictures = NDArray[np.floating]  # [N, C, H, W]
Change = Callable[[Pictures], Pictures]

_LIGHT, _LESS, _MORE, _NOISE = 0.1, 0.5, 1.5, 0.08
# A blur's standard deviation: at least half a pixel, and a pixel where a side has 224.
_LEAST_BLUR, _BLUR_OF_SIDE = 0.5, 1 / 224
SEED = 20150211


@dataclass(frozen=True, eq=False)
class Scale:
    """A picture's values p from 0 to 1 go into the network as (p - mean)/std; both [C, 1, 1]."""

    mean: Pictures
    std: Pictures

    def apply(self, change: Change, inputs: Pictures) -> Pictures:
        """The inputs as they are where the pictures are changed."""
        pixels = inputs * self.std + self.mean
        result: Pictures = ((change(pixels) - self.mean) / self.std).astype(inputs.dtype)
        return result


def scale_of(inputs: Pictures, pictures: Preprocessing | None) -> Scale:
    """By the bundle's preprocessing; without one, from the least to the largest value that came."""
    if pictures is not None:
        mean, std = (
            np.array(v, np.float32).reshape(-1, 1, 1) for v in (pictures.mean, pictures.std)
        )
        return Scale(mean, std)
    low, high = float(inputs.min()), float(inputs.max())
    width = max(high - low, 1e-6)
    mean, std = (np.full((1, 1, 1), value, inputs.dtype) for value in (-low / width, 1 / width))
    return Scale(mean, std)


def known_changes(channels: int) -> dict[str, Change]:
    """Every known change of pictures with so many channels, by its name in `service.drift`; each
    call draws the same noise anew."""
    random = np.random.default_rng(SEED)
    changes: dict[str, Change] = {
        "brighter": lambda p: np.clip(p + _LIGHT, 0, 1),
        "darker": lambda p: np.clip(p - _LIGHT, 0, 1),
        "less contrast": lambda p: _contrast(p, _LESS),
        "more contrast": lambda p: _contrast(p, _MORE),
        "blurred": _blurred,
        "noisy": lambda p: _noisy(p, random),
        "inverted": lambda p: 1 - p,
    }
    if channels == 3:
        changes["swapped"] = lambda p: p[:, ::-1]
    return changes


def _contrast(pixels: Pictures, factor: float) -> Pictures:
    """Brings every picture nearer to its own mean, by channel, or takes it farther."""
    mean = pixels.mean(axis=(2, 3), keepdims=True)
    result: Pictures = np.clip((pixels - mean) * factor + mean, 0, 1)
    return result


def _noisy(pixels: Pictures, random: np.random.Generator) -> Pictures:
    drawn = random.standard_normal(pixels.shape, np.float32)
    result: Pictures = np.clip(pixels + drawn * np.float32(_NOISE), 0, 1)
    return result


def _blurred(pixels: Pictures) -> Pictures:
    height, width = (max(_LEAST_BLUR, side * _BLUR_OF_SIDE) for side in pixels.shape[2:])
    return gaussian_blur(gaussian_blur(pixels, height, 2), width, 3)


def gaussian_blur(pixels: Pictures, deviation: float, axis: int) -> Pictures:
    """Blurred along one axis, by a standard deviation in pixels; edges are repeated."""
    radius, size = int(np.ceil(4 * deviation)), pixels.shape[axis]
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).astype(pixels.dtype)
    padding = [(radius, radius) if one == axis else (0, 0) for one in range(pixels.ndim)]
    padded = np.moveaxis(np.pad(pixels, padding, mode="edge"), axis, 0)
    total = np.zeros_like(padded[:size])
    for start, weight in enumerate(weights):
        total += weight * padded[start : start + size]
    return np.moveaxis(total, 0, axis)
