"""Pictures: bit-exact normalization, upright, in colour, of the right size; and refusals."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.api.pictures import looks_like_picture
from service.errors import InvalidRequest, TooLarge
from service.manifest import Preprocessing
from service.preprocessing import normalize, picture_input

RGB = Preprocessing(width=6, height=4, colour="RGB", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
GREY = Preprocessing(width=6, height=4, colour="L", mean=(0.1307,), std=(0.3081,))
PLAIN = Preprocessing(width=6, height=4, colour="L", mean=(0.0,), std=(1.0,))
LIMIT = 1_000_000


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a file with the picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(*shape: int) -> NDArray[np.uint8]:
    """Random bytes."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def levels(data: bytes, how: Preprocessing = PLAIN) -> NDArray[np.float64]:
    """Grey levels 0 to 255 that arrive at the network, [H, W]."""
    return np.asarray(picture_input(data, how, LIMIT)[0, 0].astype(np.float64) * 255)


def big_png(width: int, height: int) -> bytes:
    """A PNG that only claims its size: a header, and nothing to decode."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT"
    empty = struct.pack(">I", 0) + data + struct.pack(">I", zlib.crc32(data))
    return b"\x89PNG\r\n\x1a\n" + chunk + empty


def test_colour_of_the_right_size_is_exact() -> None:
    image = pixels(4, 6, 3)
    mean, std = np.array(RGB.mean, np.float32), np.array(RGB.std, np.float32)
    expected = (image.astype(np.float32) / np.float32(255) - mean) / std
    got = picture_input(encoded(Image.fromarray(image)), RGB, LIMIT)
    assert got.dtype == np.float32
    assert got.shape == (1, 3, 4, 6)
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected.transpose(2, 0, 1)[None])


def test_grey_of_the_right_size_is_exact() -> None:
    image = pixels(4, 6)
    expected = (image.astype(np.float32) / np.float32(255) - np.float32(0.1307)) / np.float32(
        0.3081
    )
    got = picture_input(encoded(Image.fromarray(image)), GREY, LIMIT)
    np.testing.assert_array_equal(got, expected[None, None])


def test_normalize_takes_batches() -> None:
    batch = pixels(5, 4, 6, 3)
    together = normalize(batch, RGB)
    assert together.shape == (5, 3, 4, 6)
    for row, image in enumerate(batch):
        one = picture_input(encoded(Image.fromarray(image)), RGB, LIMIT)
        np.testing.assert_array_equal(together[row : row + 1], one)


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_another_size_is_resized_with_the_filter_of_the_bundle(resize: str) -> None:
    image = Image.fromarray(pixels(9, 11, 3))
    how = Preprocessing.model_validate({**RGB.model_dump(), "resize": resize})
    resized = image.resize((6, 4), Image.Resampling[resize.upper()])
    np.testing.assert_array_equal(
        picture_input(encoded(image), how, LIMIT), normalize(np.asarray(resized)[None], how)
    )


MIDDLE = Preprocessing.model_validate({**RGB.model_dump(), "shorter_side": 7})


@pytest.mark.parametrize(
    ("shape", "size", "corner"),
    # The longer side is cut down: 7 · 20 / 9 = 15.5…; half places go to the even neighbour.
    [((9, 20), (15, 7), (4, 2)), ((20, 9), (7, 15), (0, 6)), ((7, 7), (7, 7), (0, 2))],
)
def test_the_middle_of_the_shorter_side(
    shape: tuple[int, int], size: tuple[int, int], corner: tuple[int, int]
) -> None:
    image = Image.fromarray(pixels(*shape, 3))
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    left, top = corner
    expected = resized[top : top + 4, left : left + 6]
    got = picture_input(encoded(image), MIDDLE, LIMIT)
    np.testing.assert_array_equal(got, normalize(expected[None], RGB))


def test_a_thin_picture_does_not_become_a_huge_one() -> None:
    with pytest.raises(TooLarge, match="where the shorter side has 7, got 100000 × 1"):
        picture_input(encoded(Image.new("L", (100_000, 1))), MIDDLE, 10**5 * 2)


def test_what_is_cut_must_lie_inside() -> None:
    with pytest.raises(ValueError, match="shorter_side of at least 6, from which 6 × 4"):
        Preprocessing.model_validate({**RGB.model_dump(), "shorter_side": 5})


def test_orientation_of_the_camera_is_undone() -> None:
    image = Image.fromarray(pixels(6, 4))  # lies on its side
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90° to see it upright
    upright = np.rot90(np.asarray(image), -1)
    np.testing.assert_allclose(levels(encoded(image, exif=exif)), upright, atol=1e-4)


def test_sixteen_bits_are_scaled_not_cut() -> None:
    deep = pixels(4, 6).astype(np.uint16) * 257
    deep[0, 0] = 40000
    expected = np.rint(deep / 257)
    np.testing.assert_allclose(levels(encoded(Image.fromarray(deep))), expected, atol=1e-4)


def test_transparency_is_over_black() -> None:
    white = np.full((4, 6, 4), 255, np.uint8)
    white[0, 0, 3], white[0, 1, 3] = 0, 128
    got = levels(encoded(Image.fromarray(white)))
    assert (got[0, 0], got[1, 1]) == (0, 255)
    assert got[0, 1] == pytest.approx(128, abs=1)


def test_transparent_colour_of_a_palette_is_over_black() -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([255, 255, 255, 200, 200, 200])
    image.putpixel((0, 0), 0)
    got = levels(encoded(image, transparency=0))
    assert got[0, 0] == 0
    assert got[1, 1] == pytest.approx(200)


def test_first_frame_of_several() -> None:
    first, second = (Image.new("L", (6, 4), level) for level in (50, 200))
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_allclose(levels(data), 50)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_common_mode_is_read(mode: str) -> None:
    image = Image.fromarray(pixels(4, 6, 3)).convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    for how, channels in ((RGB, 3), (GREY, 1)):
        assert picture_input(data, how, LIMIT).shape == (1, channels, 4, 6)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", InvalidRequest, "empty body"),
        (b"not a picture", InvalidRequest, "expected one of PNG.* 13 bytes"),
        (encoded(Image.fromarray(pixels(64, 64, 3)))[:900], InvalidRequest, "a damaged one"),
        (encoded(Image.fromarray(pixels(64, 64, 3)), "JPEG")[:900], InvalidRequest, "damaged"),
        (big_png(10_000, 10_000), TooLarge, "pixels"),
        (big_png(60_000, 60_000), TooLarge, "pixels"),
        (big_png(1001, 1000), TooLarge, "at most 1 megapixels, got 1001 × 1000"),
        (encoded(Image.new("F", (6, 4)), "TIFF"), InvalidRequest, "8 or 16 bits"),
    ],
)
def test_what_cannot_be_used_is_refused(
    data: bytes, error: type[InvalidRequest], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        picture_input(data, RGB, LIMIT)
    assert type(refused.value) is error


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_signatures_are_recognised(kind: str) -> None:
    assert looks_like_picture(encoded(Image.new("RGB", (6, 4)), kind))
    assert not looks_like_picture(b'{"instances": []}')
