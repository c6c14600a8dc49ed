"""Data sets: the real MNIST, and files that are not what they should be."""

import dataclasses
import gzip
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import Augmentation
from training.data import Dataset, load
from training.data.augment import augment
from training.data.idx import decode_idx, encode_idx
from training.data.sources import FILES, MNIST, SOURCES
from training.errors import UnusableInput
from training.files import sha256_of
from training.packages import cache_folder


def test_mnist_is_complete_and_in_the_published_order(mnist: Dataset) -> None:
    assert mnist.train_images.shape == (60000, 28, 28)
    assert mnist.test_images.shape == (10000, 28, 28)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.train_labels).tolist() == counts
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    pixels = mnist.train_images / 255
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [MNIST.mean, MNIST.std], rtol=1e-9)


def test_loading_again_is_mapped_and_fast(mnist: Dataset) -> None:
    started = time.monotonic()
    again = load("mnist")
    assert time.monotonic() - started < 1.0  # the promise; it takes a few hundredths
    assert not again.train_images.flags.owndata


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files_is_read_plain_or_packed(
    packed: bool, mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_folder() / "datasets" / "mnist"
    for name in FILES:
        data = (cache / name).read_bytes()
        target = tmp_path / (f"{name}.gz" if packed else name)
        target.write_bytes(gzip.compress(data, 1) if packed else data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    found = load("mnist", tmp_path)
    assert np.array_equal(found.test_images, mnist.test_images)
    assert np.array_equal(found.train_labels, mnist.train_labels)
    assert not (tmp_path / "empty").exists()


def _small_source(folder: Path, monkeypatch: pytest.MonkeyPatch, *, wheel: bool = False) -> Path:
    """A data set of two training pictures and one test picture, known under the name `small`."""
    arrays = [
        np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4),
        np.array([0, 1], np.uint8),
        np.ones((1, 4, 4), np.uint8),
        np.array([1], np.uint8),
    ]
    for name, array in zip(FILES, arrays, strict=True):
        (folder / name).write_bytes(encode_idx(array))
    digests = [sha256_of((folder / name).read_bytes()) for name in FILES]
    one, two, three, four = digests
    source = dataclasses.replace(
        MNIST,
        name="small",
        title="Small",
        sha256=(one, two, three, four),
        wheel=MNIST.wheel if wheel else None,
        advice="give its folder with --data",
    )
    monkeypatch.setitem(SOURCES, "small", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


def test_a_flipped_byte_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _small_source(tmp_path, monkeypatch)
    assert load("small", folder).train_labels.tolist() == [0, 1]
    damaged = bytearray((folder / FILES[0]).read_bytes())
    damaged[-1] ^= 1
    (folder / FILES[0]).write_bytes(damaged)
    with pytest.raises(UnusableInput, match=r"train-images-idx3-ubyte: expected SHA-256"):
        load("small", folder)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _small_source(tmp_path, monkeypatch)
    (folder / FILES[3]).unlink()
    with pytest.raises(UnusableInput, match=r"missing.*t10k-labels-idx1-ubyte"):
        load("small", folder)


def test_what_is_not_gzip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _small_source(tmp_path, monkeypatch)
    (folder / FILES[1]).rename(folder / f"{FILES[1]}.gz")
    with pytest.raises(UnusableInput, match="expected a gzip file"):
        load("small", folder)


def test_where_none_can_be_had_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_source(tmp_path, monkeypatch)
    with pytest.raises(UnusableInput, match="Small was not found: give its folder with --data"):
        load("small", tmp_path / "nowhere")


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small_source(tmp_path, monkeypatch, wheel=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UnusableInput, match=r"pip could not download .*; give its folder"):
        load("small", tmp_path / "nowhere")
    assert not (tmp_path / "cache").exists()


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        UnusableInput, match="expected a data set of mnist, fashion-mnist; got cifar"
    ):
        load("cifar")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\1\0\0\0\0", "expected an IDX file"),
        (b"\0\0\x08\x01\0\0\0\5abc", r"expected 5 bytes for shape \[5\], got 3"),
    ],
)
def test_what_is_not_idx_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnusableInput, match=message):
        decode_idx(data, "file")


def test_no_augmentation_changes_nothing_and_shifts_move_whole_pixels() -> None:
    torch.manual_seed(0)
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, 4, 4] = 1.0
    assert torch.equal(augment(images, Augmentation()), images)
    moved = augment(images, Augmentation(translate=2))
    places = moved.flatten(1).argmax(1)
    rows, columns = places // 9 - 4, places % 9 - 4
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(200))
    assert sorted(set(rows.tolist())) == [-2, -1, 0, 1, 2] == sorted(set(columns.tolist()))


def test_flips_are_of_half_the_pictures_and_holes_are_black() -> None:
    torch.manual_seed(0)
    images = torch.rand(400, 1, 10, 10)
    flipped = augment(images, Augmentation(flip=True))
    mirrored = [bool(torch.equal(a, b.flip(-1))) for a, b in zip(flipped, images, strict=True)]
    assert 150 < sum(mirrored) < 250
    erased = augment(torch.ones(400, 1, 10, 10), Augmentation(erase=4))
    holes = (erased == 0).sum((1, 2, 3))
    assert int(holes.max()) == 16
    assert int(holes.min()) >= 4


def test_rotation_and_zoom_keep_the_middle_and_stay_in_range() -> None:
    torch.manual_seed(0)
    images = torch.zeros(50, 1, 11, 11)
    images[:, :, 5, 5] = 1.0
    turned = augment(images, Augmentation(rotate=10, zoom=0.1))
    assert float(turned.min()) >= 0.0
    assert float(turned.max()) <= 1.0
    assert torch.equal(turned.flatten(1).argmax(1), torch.full((50,), 5 * 11 + 5))
