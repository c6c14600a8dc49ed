"""Digits, copies of the shipped bundle, and a version of it on bright digits."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from service.bundle import read_manifest
from tests.training.recalibrate.digits import SHIPPED, Digits, data_of
from training.data import Dataset
from training.recalibrate import Order, recalibrate
from training.recalibrate.data import read_data


@pytest.fixture(scope="session")
def digits(mnist: Dataset) -> Digits:
    return Digits(mnist)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A copy of the shipped bundle, beside which versions may be written."""
    folder = tmp_path / "models" / "mnist-cnn" / "1"
    shutil.copytree(SHIPPED, folder)
    return folder


@pytest.fixture(scope="session")
def bright_file(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 bright digits and their labels."""
    path = tmp_path_factory.mktemp("data") / "bright.npz"
    rows = slice(200)
    np.savez(path, images=digits.bright(rows), labels=digits.labels[rows])
    return path


@pytest.fixture(scope="session")
def bright_version(
    bright_file: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Version 2, of 200 bright digits, compared on 200 ordinary ones."""
    folder = tmp_path_factory.mktemp("models") / "mnist-cnn"
    shutil.copytree(SHIPPED, folder / "1")
    rows = slice(1000, 1200)
    how = read_manifest(SHIPPED)
    order = Order(
        read_data(bright_file, how),
        source_domain=data_of(digits.images[rows], digits.labels[rows]),
    )
    return recalibrate(folder / "1", order).folder
