"""Real photographs reach a network as the library that trained it would have brought them.

The expectation is written with PyTorch from the definition of ImageNet's evaluation: shorter side
to 256 (Pillow's filter, as everywhere), middle 224 × 224, to [0, 1], minus mean, by deviation.
"""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from service.preprocessing import picture_input
from tests.training.photographs import photographs
from training.pretrained import PRETRAINED

LIMIT = 25_000_000


def evaluated(data: bytes, resample: Image.Resampling, name: str) -> torch.Tensor:
    """[1, 3, 224, 224] as evaluation on ImageNet is defined."""
    how = PRETRAINED[name].preprocessing
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), resample)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    top, left = (round((size - 224) / 2) for size in pixels.shape[1:])
    cut = pixels[:, top : top + 224, left : left + 224].float().div(255)
    mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (how.mean, how.std))
    return cut.sub(mean).div(std)[None]


@pytest.mark.parametrize(
    ("name", "resample"),
    [
        ("mobilenet-v2", Image.Resampling.BILINEAR),
        ("efficientnet-lite0", Image.Resampling.BICUBIC),
    ],
)
def test_as_in_the_evaluation_that_the_weights_are_known_for(
    name: str, resample: Image.Resampling
) -> None:
    found = photographs()
    assert {data[:4] for data in found.values()} == {b"\x89PNG", b"\xff\xd8\xff\xe0"}
    for data in found.values():
        got = picture_input(data, PRETRAINED[name].preprocessing, LIMIT)
        np.testing.assert_array_equal(got, evaluated(data, resample, name).numpy())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright_however_the_camera_was_held(orientation: int) -> None:
    image = Image.open(io.BytesIO(photographs()["china.jpg"]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    how = PRETRAINED["mobilenet-v2"].preprocessing
    got = picture_input(file.getvalue(), how, LIMIT)
    expected = evaluated(file.getvalue(), Image.Resampling.BILINEAR, "mobilenet-v2")
    np.testing.assert_array_equal(got, expected.numpy())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_photograph_in_every_format(kind: str) -> None:
    image = Image.open(io.BytesIO(photographs()["coffee.png"])).convert("RGB")
    file = io.BytesIO()
    image.save(file, kind)
    how = PRETRAINED["mobilenet-v2"].preprocessing
    got = picture_input(file.getvalue(), how, LIMIT)
    expected = evaluated(file.getvalue(), Image.Resampling.BILINEAR, "mobilenet-v2")
    np.testing.assert_array_equal(got, expected.numpy())
