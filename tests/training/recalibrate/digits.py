"""Real digits, the shipped bundle that knows them, and what may happen to digits."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from service.bundle import open_bundle, read_manifest
from service.manifest import MODEL
from training.data import Dataset
from training.graph import Array
from training.onnx_files import session
from training.recalibrate import Data

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


def data_of(images: Bytes, labels: Bytes | None = None) -> Data:
    """The images as the bundle's preprocessing makes them."""
    how = read_manifest(SHIPPED).preprocessing
    assert how is not None
    rows = ((images / 255 - how.mean[0]) / how.std[0])[:, np.newaxis].astype(np.float32)
    return Data({"image": rows}, labels, "digits", "0" * 64)


def logits(folder: Path, rows: Array) -> Array:
    """What the network of a bundle answers."""
    model = onnx.ModelProto.FromString(open_bundle(folder).read(MODEL))
    answer: Array = session(model).run(None, {"image": rows})[0]
    return answer
