"""Rows that the user gives for a network, as several commands take them."""

from pathlib import Path

import onnx

from service.manifest import Preprocessing
from training.doctor.finding import NotChecked
from training.doctor.rows import read_rows
from training.doctor.runner import inputs_of
from training.errors import UnusableInput
from training.graph import Array


def read_rows_for(
    model: onnx.ModelProto,
    path: Path,
    pictures: Preprocessing | None = None,
    most: int | None = None,
) -> dict[str, Array]:
    """The rows in an .npz archive for a network's inputs, at most so many; UnusableInput."""
    try:
        rows = read_rows(path, inputs_of(model), "unknown", pictures)
    except NotChecked as error:
        raise UnusableInput(f"{path}: expected {error}") from None
    return rows.take(slice(most))
