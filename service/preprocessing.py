"""From the bytes of a picture to a network's input, as the bundle's `preprocessing` says.

Knows Pillow and NumPy. The order is fixed, so that training can do the very same: first frame,
upright (EXIF), transparency over black, colour, size, then `normalize`.

Transparent parts become black because that is what they were in training: image libraries drop
the alpha channel, and encoders store black under full transparency.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.errors import InvalidRequest, TooLarge, shorten
from service.manifest import Preprocessing

# Decoders that are offered foreign bytes: only these, not all that Pillow has.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def picture_input(data: bytes, how: Preprocessing, max_pixels: int) -> NDArray[np.float32]:
    """The picture as [1, C, H, W]; raises InvalidRequest, or TooLarge before decoding."""
    if not data:
        raise InvalidRequest("picture: expected the bytes of an image, got an empty body")
    image = _open(data)
    if image.width * image.height > max_pixels:
        raise TooLarge(
            f"picture: expected at most {max_pixels / 1e6:g} megapixels, "
            f"got {image.width} × {image.height}"
        )
    try:
        image = _in_colour(ImageOps.exif_transpose(image), how.colour)
    except InvalidRequest:
        raise
    except Exception as error:  # Pillow's decoders raise whatever the damage led them to
        raise InvalidRequest(
            f"picture: expected a whole {image.format} image, got a damaged one ({shorten(error)})"
        ) from None
    image = _sized(image, how, max_pixels)
    return normalize(np.asarray(image).reshape(1, how.height, how.width, -1), how)


def _sized(image: Image.Image, how: Preprocessing, max_pixels: int) -> Image.Image:
    """Resized to width × height; or to the shorter side, and the middle of it."""
    wanted = (how.width, how.height)
    if how.shorter_side is None:
        size, box = wanted, (0, 0, *wanted)
    else:
        # The arithmetic of torchvision's Resize and CenterCrop, with which networks are evaluated.
        shorter, side = min(image.size), how.shorter_side
        size = (int(side * image.width / shorter), int(side * image.height / shorter))
        if size[0] * size[1] > max_pixels:
            raise TooLarge(
                f"picture: expected at most {max_pixels / 1e6:g} megapixels where the shorter side "
                f"has {side}, got {image.width} × {image.height}"
            )
        left, top = (round((have - want) / 2) for have, want in zip(size, wanted, strict=True))
        box = (left, top, left + how.width, top + how.height)
    if image.size != size:
        image = image.resize(size, _RESAMPLING[how.resize])
    return image if box == (0, 0, *image.size) else image.crop(box)


def normalize(pixels: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float32]:
    """(pixels / 255 - mean) / std in float32: [N, H, W, C] in, contiguous [N, C, H, W] out."""
    mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
    values = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _open(data: bytes) -> Image.Image:
    """Reads the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge("picture: got more pixels than can be decoded safely") from None
    except Exception:  # as above; most often UnidentifiedImageError
        raise InvalidRequest(
            f"picture: expected one of {', '.join(FORMATS)}; got {len(data)} bytes that are none"
        ) from None


def _in_colour(image: Image.Image, colour: str) -> Image.Image:
    """Decodes, and converts to 8 bits of grey (`L`, ITU-R 601 luma) or `RGB`."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float64) / 257  # 65535 = 255 × 257
        image = Image.fromarray(np.rint(grey).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise InvalidRequest(
            "picture: expected 8 or 16 bits per channel, got 32, whose range is not known"
        )
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return image if image.mode == colour else image.convert(colour)
