"""Known changes of pictures, against Pillow, PyTorch and their formulas."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from service.drift.changes import WORDS
from service.manifest import Preprocessing
from training.baseline.changes import Scale, gaussian_blur, known_changes, scale_of

HOW = Preprocessing(
    width=16, height=12, colour="RGB", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
PIXELS = np.random.default_rng(0).random((3, 3, 12, 16), np.float32)


def test_the_names_are_those_that_the_service_has_words_for() -> None:
    assert known_changes(3).keys() == WORDS.keys()
    assert WORDS.keys() - known_changes(1).keys() == {"swapped"}


def test_a_change_is_made_to_pixels_and_not_to_what_the_network_takes() -> None:
    scale = scale_of(PIXELS, HOW)
    inputs = (PIXELS - scale.mean) / scale.std
    changed = scale.apply(known_changes(3)["inverted"], inputs)
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed * scale.std + scale.mean, 1 - PIXELS, atol=1e-6)


def test_without_preprocessing_the_scale_is_what_came() -> None:
    inputs = np.linspace(-3, 5, 9 * 12, dtype=np.float32).reshape(3, 1, 6, 6)
    scale = scale_of(inputs, None)
    inverted = scale.apply(known_changes(1)["inverted"], inputs)
    np.testing.assert_allclose(inverted, 2 - inputs, atol=1e-5)  # -3 and 5 change places


def test_inverted_and_swapped_are_what_pillow_makes() -> None:
    whole = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    pixels = whole.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / 255
    picture = Image.fromarray(whole)
    swapped = Image.merge("RGB", picture.split()[::-1])
    for name, expected in (("inverted", ImageOps.invert(picture)), ("swapped", swapped)):
        made = known_changes(3)[name](pixels)[0].transpose(1, 2, 0)
        np.testing.assert_allclose(255 * made, np.asarray(expected), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brighter", lambda p: np.minimum(p + 0.1, 1)),
        ("darker", lambda p: np.maximum(p - 0.1, 0)),
        ("less contrast", lambda p: (p + p.mean(axis=(2, 3), keepdims=True)) / 2),
        ("more contrast", lambda p: np.clip(1.5 * p - p.mean((2, 3), keepdims=True) / 2, 0, 1)),
    ],
)
def test_light_and_contrast_are_their_formulas(name: str, expected: object) -> None:
    assert callable(expected)
    wanted = expected(PIXELS.astype(np.float64))
    np.testing.assert_allclose(known_changes(3)[name](PIXELS), wanted, atol=1e-6)


def test_noise_has_its_deviation_and_is_the_same_every_time() -> None:
    grey = np.full((20, 1, 28, 28), 0.5, np.float32)
    noisy = known_changes(1)["noisy"](grey)
    assert (noisy - grey).std() == pytest.approx(0.08, rel=0.02)  # of 15,680 numbers
    np.testing.assert_array_equal(noisy, known_changes(1)["noisy"](grey))


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("axis", [2, 3])
def test_a_blur_is_a_convolution_with_the_normal_density(deviation: float, axis: int) -> None:
    radius = int(np.ceil(4 * deviation))
    kernel = torch.exp(-(torch.arange(-radius, radius + 1).double() ** 2) / (2 * deviation**2))
    turned = torch.from_numpy(PIXELS).double()
    turned = turned if axis == 3 else turned.transpose(2, 3)
    padded = torch.nn.functional.pad(turned, (radius, radius, 0, 0), mode="replicate")
    weight = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    wanted = torch.nn.functional.conv2d(padded, weight, groups=3)
    wanted = wanted if axis == 3 else wanted.transpose(2, 3)
    np.testing.assert_allclose(gaussian_blur(PIXELS, deviation, axis), wanted, atol=1e-6)


def test_a_scale_keeps_the_type_of_the_inputs() -> None:
    scale = Scale(np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    for dtype in (np.float32, np.float64):
        assert scale.apply(lambda p: p, PIXELS.astype(dtype)).dtype == dtype
