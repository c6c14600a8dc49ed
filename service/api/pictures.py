"""Pictures in a request: as its body, as the files of a form, or as base64 in JSON."""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Sequence

import numpy as np
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.api.bodies import limited_stream
from service.api.dependencies import Context
from service.api.elements import json_kind
from service.errors import InvalidRequest, TooLarge, UnsupportedEncoding, UnsupportedType, shorten
from service.manifest import Preprocessing
from service.model import Model
from service.tensors import Array, check_shape

MOST_PICTURES = 256  # of one request
_FIELD = "file"
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def looks_like_picture(data: bytes) -> bool:
    """Whether the bytes begin with the signature of a format that is decoded."""
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


async def picture_inputs(
    context: Context, model: Model, pictures: Sequence[bytes]
) -> dict[str, Array]:
    """One row a picture, preprocessed as the bundle says; UnsupportedType where it does not."""
    how = model.manifest.preprocessing
    if how is None:
        raise UnsupportedType(
            f"model '{model.name}': expected application/json with 'instances', got a picture, "
            "for which its bundle has no preprocessing"
        )
    loop, most = asyncio.get_running_loop(), context.limits.image_pixels
    rows = [  # one after the other: one request must not take every thread
        await loop.run_in_executor(context.executor, _decoded, data, how, most) for data in pictures
    ]
    spec = model.inputs[0]
    array = rows[0] if len(rows) == 1 else np.concatenate(rows)
    check_shape(spec, array.shape)
    return {spec.name: array}


def _decoded(data: bytes, how: Preprocessing, most: int) -> Array:
    # The decoders are loaded with the first picture: not everyone sends any.
    from service.preprocessing import picture_input

    return picture_input(data, how, most)


class _InMemory(MultiPartParser):
    """Keeps files in memory, where the limit on the body bounds them: nothing is written."""

    spool_max_size = 0  # of a spooled file: never rolled over to the disk


async def form_files(request: Request) -> list[bytes]:
    """The files of a form, those of the fields named `file`, in their order."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedEncoding("header Content-Encoding: expected none for a form")
    stream = limited_stream(request)
    parser = _InMemory(request.headers, stream, max_files=MOST_PICTURES, max_fields=8)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidRequest(
            f"request body: expected multipart/form-data with 1 to {MOST_PICTURES} files "
            f"({shorten(error)})"
        ) from None
    try:
        files = form.getlist(_FIELD)
        if not files or not all(isinstance(file, UploadFile) for file in files):
            raise InvalidRequest(
                f"request body: expected files in the form field '{_FIELD}', got none"
            )
        return [await file.read() for file in files if isinstance(file, UploadFile)]
    finally:
        await form.close()


def base64_pictures(rows: Sequence[object]) -> list[bytes]:
    """The pictures of `instances` that are objects {"b64": …}."""
    if len(rows) > MOST_PICTURES:
        raise TooLarge(f"instances: expected at most {MOST_PICTURES} pictures, got {len(rows)}")
    return [_from_base64(place, row) for place, row in enumerate(rows)]


def is_base64(row: object) -> bool:
    """Whether a row of `instances` is a picture."""
    return isinstance(row, dict) and row.keys() == {"b64"}


def _from_base64(place: int, row: object) -> bytes:
    text = row.get("b64") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise InvalidRequest(
            f"instances: expected an object with text 'b64' at {place}, as before it, "
            f"got {json_kind(row)}"
        )
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"instances: expected base64 at {place}, got {error}") from None
