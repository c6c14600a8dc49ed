"""IDX files: a big-endian header (0, 0, type, rank, sizes) and unsigned bytes, row-major.

Format: "The MNIST database", section FILE FORMATS. Only type 0x08 (unsigned byte) occurs here.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import UnusableInput
from training.files import read_file, sha256_of

Pixels = NDArray[np.uint8]


def encode_idx(array: Pixels) -> bytes:
    """The IDX file of an array of unsigned bytes of any rank."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array).tobytes()


def decode_idx(data: bytes | memoryview, name: str) -> Pixels:
    """The array in an IDX file, without a copy; UnusableInput where it is not one."""
    view = memoryview(data)
    rank = view[3] if len(view) >= 4 else 0
    if len(view) < 4 + 4 * rank or bytes(view[:3]) != b"\0\0\x08":
        raise UnusableInput(f"{name}: expected an IDX file of unsigned bytes, got something else")
    shape = struct.unpack_from(f">{rank}I", view, 4)
    array = np.frombuffer(view, np.uint8, offset=4 + 4 * rank)
    if array.size != np.prod(shape, dtype=np.int64):
        raise UnusableInput(
            f"{name}: expected {np.prod(shape, dtype=np.int64)} bytes for shape {list(shape)}, "
            f"got {array.size}"
        )
    return array.reshape(shape)


def read_idx(folder: Path, name: str, sha256: str) -> Pixels | None:
    """Reads `name` or `name`.gz from `folder`; None where there is neither.

    Plain files are mapped into memory, not read. Raises UnusableInput where the uncompressed
    bytes have another SHA-256 than the published one.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    data: bytes | memoryview
    if plain.is_file():
        found, data = plain, np.memmap(plain, np.uint8, mode="r").data
    elif packed.is_file():
        found, data = packed, _unzip(packed)
    else:
        return None
    digest = sha256_of(data)
    if digest != sha256:
        raise UnusableInput(f"{found}: expected SHA-256 {sha256}, got {digest}")
    return decode_idx(data, str(found))


def _unzip(path: Path) -> bytes:
    try:
        return gzip.decompress(read_file(path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnusableInput(f"{path}: expected a gzip file, got {error}") from None
