"""Common corruptions of pictures, written from their definitions (Hendrycks & Dietterich 2019).

Pixels are [N, H, W, C] from 0 to 1. The strengths of noise, brightness and contrast are those of
ImageNet-C's five severities; a blur's is in pixels, and so depends on the size of the picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.baseline.changes import gaussian_blur

Pixels = NDArray[np.float32]


def noise(pixels: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Gaussian noise of that standard deviation."""
    drawn = random.standard_normal(pixels.shape, np.float32) * np.float32(strength)
    return _clipped(pixels + drawn)


def brightness(pixels: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Adds to the value of HSV, which leaves hue and saturation."""
    value = pixels.max(axis=-1, keepdims=True)
    more = np.minimum(value + np.float32(strength), 1)
    return np.where(value > 0, pixels * (more / np.maximum(value, 1e-6)), more).astype(np.float32)


def contrast(pixels: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Brings every picture nearer to its own mean, by channel."""
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    return _clipped((pixels - mean) * np.float32(strength) + mean)


def blur(pixels: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Gaussian blur of that standard deviation in pixels, edges repeated."""
    return gaussian_blur(gaussian_blur(pixels, strength, 1), strength, 2)


def _clipped(pixels: Pixels) -> Pixels:
    result: Pixels = np.clip(pixels, 0, 1).astype(np.float32)
    return result


Corruption = Callable[[Pixels, float, np.random.Generator], Pixels]
LARGE: list[tuple[str, Corruption, tuple[float, ...]]] = [
    ("noise", noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    ("brightness", brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    ("contrast", contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    ("blur", blur, (1.0, 2.0, 3.0, 4.0, 6.0)),
]
SMALL = [*LARGE[:3], ("blur", blur, (0.5, 0.75, 1.0, 1.5, 2.0))]  # for 28 × 28
