"""The models that are served, by name and version: loaded, replaced, taken away, handed out.

A version is verified, loaded and warmed up before it takes the place of another; what cannot be
served is kept with its reason and harms no other. A version that was replaced serves the requests
that hold it, and goes with the last of them. What is changed, is changed by one caller at a time
and becomes visible at once; readers need no lock.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from service.batching import QueueLimits
from service.bundle import open_bundle
from service.errors import FoldserveError, LoadFailed, NotFound, NotReady, shorten
from service.manifest import MODEL
from service.model import Model, load_model
from service.recording import Recorder
from service.repository import VERSION, Place, Signature, Unreadable, find_places, find_versions
from service.watch import Watcher

logger = logging.getLogger(__name__)

_LISTED = 10  # names in a message
UNLOADED = "unloaded"

Load = Callable[[Path], Model]


class State(StrEnum):
    """The states of the model repository extension."""

    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version: the model that answers, or none; and the reason why not, or why not a newer."""

    name: str
    version: int
    model: Model | None
    reason: str = ""
    signature: Signature = ()

    @property
    def state(self) -> State:
        """What the repository index says."""
        return State.UNAVAILABLE if self.model is None else State.READY


class Registry:
    """Every version that was found, by name and number."""

    def __init__(self, folder: Path, load: Load, required: Iterable[str] = ()) -> None:
        """`load` raises FoldserveError; without `required`, what is found first is required."""
        self.stopping = False
        self._folder, self._load = folder, load
        self._entries: dict[str, dict[int, Entry]] = {}
        self._required, self._chosen = frozenset(required), bool(frozenset(required))
        self._changing = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether every required model has a version that can answer, and there is a model.

        Models that come later never change it, nor does a bad version beside a good one. A model
        that is unloaded was asked to be absent, unless the settings name it as required.
        """
        present = bool(self._entries) and not self.stopping
        return present and all(self.versions(name) for name in self._required)

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
            return self._latest(versions)
        entry = versions.get(int(version)) if VERSION.fullmatch(version) else None
        if entry is None:
            raise NotFound(
                f"model '{name}': expected one of the versions {_some(versions)}; "
                f"got '{shorten(version)}'"
            )
        return _ready(entry)

    def load(self, name: str) -> None:
        """Loads every version of a model anew. NotFound; LoadFailed with the reasons.

        What could not be loaded leaves in place what was there.
        """
        with self._changing:
            if name not in self._entries and not (self._folder / name).is_dir():
                raise NotFound(f"model: expected one of {_some(self._entries)}; got '{name}'")
            places = _versions_of(self._folder / name)
            entries = [self._load_one(place) for place in places]
            self._replace(name, entries)
        if reasons := [f"version {e.version}: {e.reason}" for e in entries if e.reason]:
            raise LoadFailed(f"failed to load '{name}', {shorten('; '.join(reasons), 500)}")

    def unload(self, name: str) -> None:
        """Takes every version of a model away; NotFound where there is no such model."""
        with self._changing:
            if name not in self._entries:
                raise NotFound(f"model: expected one of {_some(self._entries)}; got '{name}'")
            gone = [Entry(name, version, None, UNLOADED) for version in self._entries[name]]
            self._replace(name, gone)
            if not self._chosen:
                self._required -= {name}
        logger.info("model %s unloaded", name)

    def scan(self) -> None:
        """Loads what is new or changed in the folder, and takes away what is gone.

        A model that was unloaded stays so. A folder that cannot be listed changes nothing.
        """
        with self._changing:
            try:
                places = find_places(self._folder)
            except Unreadable as error:
                logger.error("no models: %s" if not self._entries else "nothing changes: %s", error)
                return
            first = not self._entries
            for name in sorted({place.name for place in places} | self._entries.keys()):
                self._scan_model(name, [place for place in places if place.name == name])
            if first and not self._chosen:
                self._required = frozenset(self._entries)

    def close(self) -> None:
        """Closes every model."""
        for entry in self.index():
            if entry.model is not None:
                entry.model.close()

    def _scan_model(self, name: str, places: list[Place]) -> None:
        known = self._entries.get(name, {})
        if known and all(entry.reason == UNLOADED for entry in known.values()):
            return
        entries = []
        for place in places:
            entry = known.get(place.version)
            same = entry is not None and entry.signature == place.signature
            entries.append(entry if entry and same else self._load_one(place))
        for version in known.keys() - {place.version for place in places}:
            logger.info("model %s/%d is gone from the folder, and unloaded", name, version)
        self._replace(name, entries)
        if not places and not self._chosen:
            self._required -= {name}

    def _load_one(self, place: Place) -> Entry:
        name, version = place.name, place.version
        before = self._entries.get(name, {}).get(version)
        serving = before.model if before else None
        try:
            model = self._load(place.folder)
            if serving is not None:
                _check_same(serving, model)
            released = weakref.finalize(model, logger.info, "model %s/%d released", name, version)
            released.atexit = False
            return Entry(name, version, model, signature=place.signature)
        except FoldserveError as error:
            reason = shorten(error, 500)
            logger.error("model %s/%d is unavailable: %s", name, version, reason)
        except Exception:  # a fault of ours in one bundle must not take the others down
            reason = "internal error while loading"
            logger.exception("model %s/%d is unavailable: %s", name, version, reason)
        if serving is not None:
            logger.error("model %s/%d: what was loaded before is still served", name, version)
        return Entry(name, version, serving, reason, place.signature)

    def _replace(self, name: str, entries: list[Entry]) -> None:
        changed = dict(self._entries)
        changed[name] = {e.version: e for e in sorted(entries, key=lambda e: e.version)}
        if not entries:
            del changed[name]
        self._entries = dict(sorted(changed.items()))

    @staticmethod
    def _latest(versions: dict[int, Entry]) -> Model:
        for entry in reversed(versions.values()):
            if entry.model is not None:
                return entry.model
        return _ready(versions[max(versions)])


def load_registry(
    folder: Path,
    threads: int,
    limits: QueueLimits | None = None,
    required: Iterable[str] = (),
    watcher: Watcher | None = None,
    recorder: Recorder | None = None,
) -> Registry:
    """Loads every bundle `folder/<name>/<version>/`; what fails is kept with its reason."""
    executor = ThreadPoolExecutor(threads, "run")  # shared: runs compete for the processors

    def load(place: Path) -> Model:
        began = time.perf_counter()
        bundle = open_bundle(place)
        read_s = time.perf_counter() - began
        model = load_model(bundle, threads, limits, executor, watcher, recorder)
        model.load_seconds["read"] = read_s
        return model

    registry = Registry(folder, load, required)
    registry.scan()
    return registry


def _versions_of(folder: Path) -> list[Place]:
    try:
        places = find_versions(folder)
    except Unreadable as error:
        raise LoadFailed(f"failed to load '{folder.name}', {error}") from None
    if not places:
        raise LoadFailed(
            f"failed to load '{folder.name}': expected a folder for each version, got none"
        )
    return places


def _check_same(serving: Model, model: Model) -> None:
    """A version is one function for ever."""
    if serving.manifest.files[MODEL].sha256 != model.manifest.files[MODEL].sha256:
        raise LoadFailed(
            f"{MODEL}: expected the network that version {model.version} has been so far; "
            "give another one a new version, or unload the model first"
        )


def _ready(entry: Entry) -> Model:
    if entry.model is None:
        raise NotReady(f"model '{entry.name}' version {entry.version}: {entry.reason}")
    return entry.model


def _some(names: dict[str, dict[int, Entry]] | dict[int, Entry]) -> str:
    if not names:
        return "none"
    listed = ", ".join(map(str, list(names)[:_LISTED]))
    return f"{listed} and {len(names) - _LISTED} more" if len(names) > _LISTED else listed
