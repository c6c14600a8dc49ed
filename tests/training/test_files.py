"""Files appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from training.errors import UnusableInput
from training.files import read_file, staged, write_bytes


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result"
    write_bytes(target, b"old")
    with pytest.raises(RuntimeError, match="no more"):
        _write_half(target)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]


def _write_half(target: Path) -> None:
    with staged(target) as file:
        file.write(b"half of the n")
        raise RuntimeError("no more")


def test_folders_are_made_and_permissions_are_ordinary(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "result"
    write_bytes(target, b"new")
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UnusableInput, match=r"expected a writable place, got Not a directory|exists"
    ):
        write_bytes(tmp_path / "file" / "below", b"")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="expected a readable file, got Is a directory"):
        read_file(tmp_path)
