"""Images to re-calibrate on: from an archive, or recorded by a running service."""

import json
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from service.manifest import Manifest
from service.tensors import TensorSpec
from training.doctor.rows import read_rows
from training.doctor.runner import Input
from training.errors import UnusableInput
from training.files import read_file, sha256_of
from training.recalibrate.version import Data

_TIMEOUT_S = 60.0
_LARGEST = 2**32  # bytes of a recording
_PIECE = 2**20


def read_data(path: Path, manifest: Manifest, source: str | None = None) -> Data:
    """The rows in an .npz archive for the bundle's inputs, and `labels` if there are; `source` in
    place of the file's name. UnusableInput where they do not fit, or there are fewer than two."""
    inputs = tuple(_input(spec) for spec in manifest.inputs)
    rows = read_rows(path, inputs, "live", manifest.preprocessing)
    if len(rows) < 2:
        raise UnusableInput(f"{path}: expected two or more images, got {len(rows)}")
    every = rows.take(slice(None))
    return Data(every, rows.labels, source or path.name, sha256_of(read_file(path)))


def fetch_data(url: str, manifest: Manifest, key: str | None) -> Data:
    """What the service at `url` has recorded for this version; UnusableInput with its own sentence
    where it has nothing, or does not give it."""
    place = f"/v2/models/{manifest.name}/versions/{manifest.version}/recording"
    if urlsplit(url).scheme not in ("http", "https"):
        raise UnusableInput(f"--from: expected the address of a service, http://…, got '{url}'")
    request = urllib.request.Request(url.rstrip("/") + place)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.npz"
        _download(request, path)
        return read_data(path, manifest, f"the recording of {urlsplit(url).netloc}")


def _download(request: urllib.request.Request, path: Path) -> None:
    place, size = request.full_url, 0
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
            while piece := answer.read(_PIECE):
                size += len(piece)
                if size > _LARGEST:
                    raise UnusableInput(f"{place}: expected at most {_LARGEST:,} bytes, got more")
                file.write(piece)
    except urllib.error.HTTPError as error:
        raise UnusableInput(f"{place}: {error.code}, {_sentence(error)}") from None
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        raise UnusableInput(f"{place}: expected a running service, got {reason}") from None


def _sentence(error: urllib.error.HTTPError) -> str:
    with error:
        try:
            return str(json.loads(error.read(_PIECE))["error"])
        except (ValueError, KeyError, TypeError, OSError):
            return str(error.reason)


def _input(spec: TensorSpec) -> Input:
    shape = tuple(None if size < 0 else size for size in spec.shape)
    return Input(spec.name, spec.dtype, shape)
