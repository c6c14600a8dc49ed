"""What the user says of a network in files of his own: its labels and how pictures reach it."""

import json
import tomllib
from pathlib import Path

from pydantic import ValidationError

from service.bundle import first_fault
from service.manifest import Preprocessing
from training.errors import UnusableInput
from training.files import read_file, write_bytes


def read_labels(path: Path) -> tuple[str, ...]:
    """One label a line, in the order of the classes; UnusableInput for a file without any."""
    try:
        lines = read_file(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UnusableInput(f"{path}: expected UTF-8 text, got {error}") from None
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise UnusableInput(f"{path}: expected one label a line, found none")
    return labels


def read_preprocessing(path: Path) -> Preprocessing:
    """The fields of a TOML file as the manifest has them; UnusableInput says what is wrong."""
    try:
        return Preprocessing.model_validate(tomllib.loads(read_file(path).decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path}: expected TOML, got {error}") from None
    except ValidationError as error:
        raise UnusableInput(f"{path}: {first_fault(error)}") from None


def write_labels(labels: tuple[str, ...], path: Path) -> None:
    """One label a line, as `read_labels` reads it."""
    write_bytes(path, "".join(f"{label}\n" for label in labels).encode())


def write_preprocessing(how: Preprocessing, path: Path) -> None:
    """TOML, as `read_preprocessing` reads it; JSON's strings, numbers and lists are TOML's too."""
    fields = how.model_dump(mode="json", exclude_none=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
    write_bytes(path, "".join(lines).encode())
