"""Rows of data for a network: read from an archive, or drawn where there is none."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from service.manifest import Preprocessing
from training.doctor.runner import Input
from training.errors import UnusableInput
from training.graph import Array

Kind = Literal["unknown", "training", "live"]
IMAGES, LABELS, GROUPS = "images", "labels", "groups"
SEED = 20150211


@dataclass(frozen=True, eq=False)
class Rows:
    """Arrays by input name, all with the rows along the first dimension; `labels` are classes, and
    `groups` has the same number for rows that belong together."""

    inputs: Mapping[str, Array]
    labels: Array | None = None
    kind: Kind = "unknown"
    groups: Array | None = None

    def __len__(self) -> int:
        return min(len(array) for array in self.inputs.values())

    def take(self, index: Array | slice) -> dict[str, Array]:
        """The chosen rows of every input."""
        return {name: array[index] for name, array in self.inputs.items()}


def draw_rows(inputs: tuple[Input, ...], count: int, free: int = 32) -> Rows:
    """Seeded rows: normal (0, 1), truth values even, integers 0 or 1 (any table has them)."""
    random = np.random.default_rng(SEED)
    drawn: dict[str, Array] = {}
    for wanted in inputs:
        sizes = [free if size is None else size for size in wanted.shape]
        shape = (count, *sizes[1:]) if wanted.batched else tuple(sizes)
        drawn[wanted.name] = (
            random.integers(0, 2, shape).astype(wanted.dtype)
            if wanted.dtype.kind in "iub"
            else random.standard_normal(shape).astype(wanted.dtype)
        )
    return Rows(drawn)


def read_rows(
    path: Path, inputs: tuple[Input, ...], kind: Kind, pictures: Preprocessing | None = None
) -> Rows:
    """The rows in an .npz archive: arrays by input name, or `images`; `labels` and `groups` if
    there are.

    Bytes for a floating-point input go through `pictures`, where the target says how it takes
    them. Raises UnusableInput where an array is missing or does not fit.
    """
    arrays = _read(path)
    labels, groups = (_of_each_row(arrays, name, inputs) for name in (LABELS, GROUPS))
    if len(inputs) == 1 and inputs[0].name not in arrays and IMAGES in arrays:
        arrays[inputs[0].name] = arrays.pop(IMAGES)
    missing = [wanted.name for wanted in inputs if wanted.name not in arrays]
    if missing or not inputs:
        raise UnusableInput(
            f"{path}: expected arrays {', '.join(i.name for i in inputs)} (or '{IMAGES}' for the "
            f"only input), got {', '.join(arrays) or 'none'}"
        )
    fitted = {i.name: _fit(path, arrays[i.name], i, pictures) for i in inputs}
    rows = Rows(fitted, labels, kind, groups)
    for what, array in ((LABELS, labels), (GROUPS, groups)):
        if not len(rows) or (array is not None and len(array) != len(rows)):
            got = "no rows" if array is None else f"{len(rows)} and {len(array)}"
            raise UnusableInput(
                f"{path}: expected as many rows as {what} and at least one, got {got}"
            )
    return rows


def _of_each_row(arrays: dict[str, Array], name: str, inputs: tuple[Input, ...]) -> Array | None:
    """Takes the array of that name out, flat, unless an input is called so."""
    if name in arrays and all(wanted.name != name for wanted in inputs):
        return arrays.pop(name).reshape(-1)
    return None


def _read(path: Path) -> dict[str, Array]:
    try:
        # Opened here: NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnusableInput(f"{path}: expected a readable .npz file, got {reason}") from None
    except (
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        raise UnusableInput(f"{path}: expected an .npz archive of arrays, got {e}") from None


def _fit(path: Path, array: Array, wanted: Input, pictures: Preprocessing | None) -> Array:
    if array.dtype.kind not in "fiub":
        raise UnusableInput(f"{path}: '{wanted.name}': expected numbers, got {array.dtype}")
    if len(wanted.shape) == 4 and array.ndim == 3 and wanted.shape[1] == 1:
        array = array[:, np.newaxis]
    if (
        len(wanted.shape) == 4
        and array.ndim == 4
        and array.shape[3] == wanted.shape[1] != array.shape[1]
    ):
        array = np.moveaxis(array, 3, 1)  # pictures as files have them, channels last
    tail = zip(array.shape[1:], wanted.shape[1:], strict=False)
    if array.ndim != len(wanted.shape) or any(want not in (None, got) for got, want in tail):
        shape = [-1 if size is None else size for size in wanted.shape]
        raise UnusableInput(f"{path}: '{wanted.name}': expected {shape}, got {list(array.shape)}")
    if array.dtype == np.uint8 and wanted.dtype.kind == "f" and pictures is not None:
        mean, std = (np.reshape(v, (1, -1, 1, 1)) for v in (pictures.mean, pictures.std))
        array = (array / 255 - mean) / std
    return np.ascontiguousarray(array.astype(wanted.dtype))
