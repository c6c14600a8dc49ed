"""The models of a folder: found, loaded, and handed out by name and version.

A bundle that cannot be served is kept with its reason and harms no other. The folder is read
once, when the service starts.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from service.bundle import open_bundle
from service.errors import FoldserveError, NotFound, NotReady, shorten
from service.manifest import is_model_name
from service.model import Model, load_model

logger = logging.getLogger(__name__)

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_LISTED = 10  # names in a message


@dataclass(frozen=True, slots=True)
class Entry:
    """One version: the model that answers, or the reason why there is none."""

    name: str
    version: int
    model: Model | None
    reason: str = ""


class Registry:
    """Every version that was found, by name and number."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries: dict[str, dict[int, Entry]] = {}
        for entry in sorted(entries, key=lambda e: (e.name, e.version)):
            self._entries.setdefault(entry.name, {})[entry.version] = entry

    @property
    def ready(self) -> bool:
        """Whether every model that is present can answer, and there is at least one.

        A model can answer as soon as one version of it is ready, so a bad bundle beside a good
        one changes nothing; a service without models is not ready for anything.
        """
        return bool(self._entries) and all(self.versions(name) for name in self._entries)

    def names(self) -> list[str]:
        """The models that can answer."""
        return [name for name in self._entries if self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """The ready versions of a model, ascending."""
        return [e.version for e in self._entries.get(name, {}).values() if e.model is not None]

    def index(self) -> list[Entry]:
        """Every version that was found, by name and number, ready or not."""
        return [entry for versions in self._entries.values() for entry in versions.values()]

    def get(self, name: str, version: str | None = None) -> Model:
        """The version asked for, in decimal; None asks for the highest that is ready.

        Raises NotFound for what does not exist, NotReady for what exists and cannot answer.
        """
        versions = self._entries.get(name)
        if versions is None:
            raise NotFound(f"model: expected one of {_some(self._entries)}; got '{shorten(name)}'")
        if version is None:
            return self._latest(name, versions)
        entry = versions.get(int(version)) if _VERSION.fullmatch(version) else None
        if entry is None:
            raise NotFound(
                f"model '{name}': expected one of the versions {_some(versions)}; "
                f"got '{shorten(version)}'"
            )
        return _ready(entry)

    def close(self) -> None:
        """Closes every model."""
        for entry in self.index():
            if entry.model is not None:
                entry.model.close()

    def _latest(self, name: str, versions: dict[int, Entry]) -> Model:
        ready = self.versions(name)
        return _ready(versions[ready[-1] if ready else max(versions)])


def load_registry(folder: Path, threads: int) -> Registry:
    """Loads every bundle `folder/<name>/<version>/`; what fails is kept with its reason."""
    return Registry([_load(place, threads) for place in _bundle_folders(folder)])


def _bundle_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        logger.error("no models: expected a folder at '%s'", folder)
        return []
    places = []
    for model in _folders(folder):
        if not is_model_name(model.name):
            logger.warning("ignoring folder '%s': this cannot be the name of a model", model.name)
            continue
        for version in _folders(model):
            if _VERSION.fullmatch(version.name):
                places.append(version)
            else:
                logger.warning(
                    "ignoring folder '%s/%s': expected a version, a positive integer",
                    model.name,
                    version.name,
                )
    return places


def _folders(folder: Path) -> list[Path]:
    """The folders inside that are not hidden, sorted; none where they may not be listed."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir())
    except OSError as error:
        logger.error("cannot list folder '%s': %s", folder, error.strerror)
        return []


def _load(place: Path, threads: int) -> Entry:
    name, version = place.parent.name, int(place.name)
    try:
        return Entry(name, version, load_model(open_bundle(place), threads))
    except FoldserveError as error:
        reason = shorten(error, 500)
        logger.error("model %s/%d is unavailable: %s", name, version, reason)
    except Exception:  # a fault of ours in one bundle must not take the others down
        reason = "internal error while loading"
        logger.exception("model %s/%d is unavailable: %s", name, version, reason)
    return Entry(name, version, None, reason)


def _ready(entry: Entry) -> Model:
    if entry.model is None:
        raise NotReady(f"model '{entry.name}' version {entry.version}: {entry.reason}")
    return entry.model


def _some(names: dict[str, dict[int, Entry]] | dict[int, Entry]) -> str:
    if not names:
        return "none"
    listed = ", ".join(map(str, list(names)[:_LISTED]))
    return f"{listed} and {len(names) - _LISTED} more" if len(names) > _LISTED else listed
