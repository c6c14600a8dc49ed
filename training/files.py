"""Files appear whole or not at all: written beside their place, synced, and renamed into it."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from training.errors import UnusableInput


@contextmanager
def staged(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` to write to; when the block ends, it is synced and renamed to `path`.

    Raises UnusableInput where the folder cannot be written to; whatever the block raises leaves
    neither `path` changed nor anything beside it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UnusableInput(f"{path}: expected a writable place, got {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            sync(file)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync(file: IO[bytes]) -> None:
    """Makes what was written durable."""
    file.flush()
    os.fsync(file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with staged(path) as file:
        file.write(data)


def read_file(path: Path) -> bytes:
    """The bytes of a file that the user named; UnusableInput where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"{path}: expected a readable file, got {error.strerror}") from None


def sha256_of(data: bytes | memoryview) -> str:
    """The SHA-256 digest, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable, as fsync does a file's contents."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
