"""Real digits, the shipped bundle that knows them, and what may happen to digits."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data import Dataset

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "models" / "mnist-cnn" / "1"
Bytes = NDArray[np.uint8]


class Digits:
    """Test images that are not in the bundle's baseline, shuffled, as bytes; and their labels."""

    def __init__(self, mnist: Dataset) -> None:
        order = np.random.default_rng(0).permutation(np.arange(1, 10_000, 2))
        self.images, self.labels = mnist.test_images[order], mnist.test_labels[order]

    def bright(self, rows: slice) -> Bytes:
        """By a fifth of the range."""
        brighter: Bytes = np.minimum(self.images[rows].astype(np.int64) + 51, 255).astype(np.uint8)
        return brighter

    def first_half(self, count: int) -> NDArray[np.intp]:
        """Images of the digits 0 to 4."""
        return np.flatnonzero(self.labels < 5)[:count]


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
