"""Rows that the user gives for a network, as several commands take them."""

from pathlib import Path

import numpy as np
import onnx

from service.manifest import Preprocessing
from training.baseline import Reference
from training.doctor.finding import NotChecked
from training.doctor.rows import Rows, read_rows
from training.doctor.runner import inputs_of
from training.errors import UnusableInput
from training.graph import Array


def read_rows_for(model: onnx.ModelProto, path: Path, most: int) -> dict[str, Array]:
    """The rows in an .npz archive for a network's inputs, at most so many; UnusableInput."""
    return _read(model, path, None).take(slice(most))


def read_reference(model: onnx.ModelProto, path: Path, pictures: Preprocessing | None) -> Reference:
    """The images in an .npz archive that drift is measured against, with their `groups` where it
    has these; UnusableInput."""
    rows = _read(model, path, pictures)
    inputs, groups = rows.take(slice(None)), rows.groups
    of_groups = "" if groups is None else f" in {len(np.unique(groups)):,} groups"
    return Reference(inputs, f"{path.name}, {len(rows):,} images{of_groups}", groups)


def _read(model: onnx.ModelProto, path: Path, pictures: Preprocessing | None) -> Rows:
    try:
        return read_rows(path, inputs_of(model), "unknown", pictures)
    except NotChecked as error:
        raise UnusableInput(f"{path}: expected {error}") from None
