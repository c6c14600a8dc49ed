"""The folder of bundles: which versions there are, and whether one has changed.

A folder that cannot be listed is an error of its own: it must not look like an empty one, or a
file system that went away for a moment would unload every model.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from service.manifest import MANIFEST, is_model_name

logger = logging.getLogger(__name__)

VERSION = re.compile(r"[1-9][0-9]{0,17}")

Signature = tuple[int, ...]


class Unreadable(Exception):
    """The folder of models, or of one model, cannot be listed."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one version; the signature changes whenever a bundle is put there anew."""

    folder: Path
    signature: Signature

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.folder.parent.name

    @property
    def version(self) -> int:
        """The version."""
        return int(self.folder.name)


def find_places(models: Path) -> list[Place]:
    """Every folder `<name>/<version>/` of the folder of models, sorted; raises Unreadable."""
    places = []
    for model in _folders(models):
        if not is_model_name(model.name):
            logger.warning("ignoring folder '%s': this cannot be the name of a model", model.name)
            continue
        try:
            places += find_versions(model)
        except Unreadable as error:
            logger.error("%s", error)
    return places


def find_versions(model: Path) -> list[Place]:
    """Every version's folder of one model, sorted by name; raises Unreadable."""
    places = []
    for version in _folders(model):
        if VERSION.fullmatch(version.name):
            places.append(Place(version, _signature(version / MANIFEST)))
        else:
            logger.warning(
                "ignoring folder '%s/%s': expected a version, a positive integer",
                model.name,
                version.name,
            )
    return places


def _signature(manifest: Path) -> Signature:
    """What changes when the manifest, which is written last, is put in place; () without one."""
    try:
        status = manifest.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _folders(folder: Path) -> list[Path]:
    """The folders inside that are not hidden, sorted."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir())
    except OSError as error:
        raise Unreadable(
            f"expected a folder that can be listed at '{folder}', got: {error.strerror}"
        ) from None
