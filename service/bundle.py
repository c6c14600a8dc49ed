"""A bundle: the folder `models/<name>/<version>/`, read and verified.

Everything is read by its name in the manifest, inside the folder, with size and digest checked on
the very bytes that are used. What does not match, or points elsewhere, is a `BadBundle`.
"""

import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from service.errors import BadBundle
from service.manifest import FORMAT_VERSION, LAYERS, MANIFEST, SOURCE, STATISTICS, Layer, Manifest

FROZEN_FIELDS = ("scale", "bias", "mean", "var", "multiplier", "shift")
MOVING_FIELDS = ("moving_mean", "moving_var")
BASELINE_FIELDS = (
    "baseline_mean",
    "baseline_var",
    "baseline_mean_spread",
    "baseline_var_spread",
)
MANIFEST_LIMIT = 16 * 2**20

Statistics = dict[str, NDArray[np.floating]]
_LAYERS = TypeAdapter(tuple[Layer, ...])


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle: its words parsed, its arrays in memory, its networks read on demand.

    `statistics[layer][field]` is [C] for every field of FROZEN_FIELDS, and of MOVING_FIELDS where
    the moving averages of training are known beside the population statistics, and of
    BASELINE_FIELDS where the layer has a drift baseline.
    """

    folder: Path
    manifest: Manifest
    layers: tuple[Layer, ...]
    statistics: dict[str, Statistics]

    def read(self, name: str) -> bytes:
        """The bytes of one file, verified; BadBundle if they are not what the manifest says."""
        return read_verified(self.folder, name, self.manifest)


def open_bundle(folder: Path) -> Bundle:
    """Reads and verifies the whole bundle in `folder`; BadBundle says what is wrong with it."""
    manifest = read_manifest(folder)
    contents = {name: read_verified(folder, name, manifest) for name in (LAYERS, STATISTICS)}
    for name in manifest.files.keys() - contents.keys():
        if name != SOURCE or (folder / SOURCE).exists():  # may be left out where it only serves
            read_verified(folder, name, manifest)
    try:
        layers = _LAYERS.validate_json(contents[LAYERS])
    except ValidationError as error:
        raise BadBundle(f"{folder.name}/{LAYERS}: {first_fault(error)}") from None
    return Bundle(folder, manifest, layers, _parse_statistics(contents[STATISTICS], layers))


def read_manifest(folder: Path) -> Manifest:
    """Parses `manifest.json`; the name and version in it must be those of the folder."""
    raw = _read_inside(folder, MANIFEST, MANIFEST_LIMIT)
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadBundle(f"{MANIFEST}: expected JSON, got {error}") from None
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version != FORMAT_VERSION:
        raise BadBundle(f"{MANIFEST}: expected format version {FORMAT_VERSION}, got {version}")
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise BadBundle(f"{MANIFEST}: {first_fault(error)}") from None
    place = f"{folder.parent.name}/{folder.name}"
    if place != f"{manifest.name}/{manifest.version}":
        raise BadBundle(
            f"{MANIFEST}: expected the bundle of folder {place}, "
            f"got {manifest.name}/{manifest.version}"
        )
    return manifest


def read_verified(folder: Path, name: str, manifest: Manifest) -> bytes:
    """The bytes of a file that the manifest lists, with size and SHA-256 as it says."""
    entry = manifest.files[name]
    data = _read_inside(folder, name, entry.size)
    if len(data) != entry.size:
        raise BadBundle(f"{name}: expected {entry.size} bytes, got {len(data)}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise BadBundle(f"{name}: expected SHA-256 {entry.sha256}, got {digest}")
    return data


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found, as one sentence with the place."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "top level"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"


def _read_inside(folder: Path, name: str, limit: int) -> bytes:
    """At most `limit` + 1 bytes of a regular file of the folder itself: no links are followed."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BadBundle(f"{name}: expected a readable file, got {error.strerror}") from None


def read_arrays(name: str, data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a file in NumPy's own archive format; BadBundle if it is none."""
    try:
        zipfile.ZipFile(io.BytesIO(data)).close()  # np.load would take other kinds of file too
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BadBundle(f"{name}: expected NumPy arrays, got {error}") from None


def _parse_statistics(data: bytes, layers: tuple[Layer, ...]) -> dict[str, Statistics]:
    arrays = read_arrays(STATISTICS, data)
    return {layer.name: _layer_statistics(layer, arrays) for layer in layers}


def _layer_statistics(layer: Layer, arrays: dict[str, NDArray[Any]]) -> Statistics:
    fields = [*FROZEN_FIELDS, *(f for f in MOVING_FIELDS if f"{layer.name}/{f}" in arrays)]
    fields += BASELINE_FIELDS if layer.baseline is not None else ()
    found: Statistics = {}
    for field in fields:
        array = arrays.get(f"{layer.name}/{field}")
        if array is None or array.shape != (layer.channels,) or array.dtype.kind != "f":
            got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise BadBundle(
                f"{STATISTICS}: expected {field} of layer '{layer.name}' as floating point "
                f"[{layer.channels}], got {got}"
            )
        found[field] = array
    return found
