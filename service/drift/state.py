"""What a monitor has seen, as a file that outlives the process.

One file `<name>/<version>.<worker>.json` for each version and worker, replaced as a whole. What
cannot be used is left out with one line in the log: to begin anew costs a few images, to stop would
cost the service.
"""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson

from service.drift.monitor import Monitor, Stretch
from service.drift.plain import from_plain, to_plain

logger = logging.getLogger(__name__)

_FORMAT = 1
_LARGEST = 2**28  # bytes that are read of a file


@dataclass(frozen=True, slots=True)
class Key:
    """The network that was watched: a name, a version, and the SHA-256 of its probe network."""

    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The files of worker `worker` among `workers` in `folder`, which belongs to one service."""

    folder: Path
    worker: int = 0
    workers: int = 1

    def save(self, key: Key, monitor: Monitor) -> None:
        """Replaces the file of this version; OSError where that cannot be done."""
        content = {
            "format": _FORMAT,
            "digest": key.digest,
            "step_s": monitor.step_s,
            "dropped": monitor.dropped,
            "first_nonfinite": monitor.first_nonfinite,
            "stretches": [to_plain(stretch) for stretch in monitor.stretches()],
        }
        file = self._file(key, self.worker)
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, orjson.dumps(content))

    def restore(self, key: Key, monitor: Monitor) -> None:
        """Gives the monitor what was seen of this network before, if anything was.

        The first worker also takes over from workers that there are no more.
        """
        self._restore(self._file(key, self.worker), key, monitor)
        if self.worker == 0:
            for file in sorted((self.folder / key.name).glob(f"{key.version}.*.json")):
                number = file.name.split(".")[1]
                if number.isdecimal() and int(number) >= self.workers:
                    self._restore(file, key, monitor)
                    file.unlink(missing_ok=True)

    def _restore(self, file: Path, key: Key, monitor: Monitor) -> None:
        try:
            content = orjson.loads(_read(file))
            if (content["format"], content["digest"]) != (_FORMAT, key.digest):
                raise ValueError("it is of another network, or of another version of the format")
            stretches = [_fitting(from_plain(plain), monitor) for plain in content["stretches"]]
            same_step = content["step_s"] == monitor.step_s
            dropped, layer = int(content["dropped"]), content["first_nonfinite"]
            if layer is not None and layer not in monitor.baseline.places:
                raise ValueError("it names a layer that the network has not")
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("drift: %s cannot be used, and begins anew: %s", _shown(file), error)
            return
        if not same_step:
            logger.warning("drift: %s has steps of another length, and begins anew", _shown(file))
            return
        monitor.take_over(stretches, dropped, layer)

    def _file(self, key: Key, worker: int) -> Path:
        return self.folder / key.name / f"{key.version}.{worker}.json"


def _fitting(stretch: Stretch, monitor: Monitor) -> Stretch:
    layers, pixels = stretch.layers, stretch.input
    found = layers.channels, pixels.channels
    if found != (monitor.baseline.channels, monitor.input_channels) or layers.rows < 0:
        raise ValueError(f"expected as many channels as the network has, got {found}")
    if layers.classes.size > len(monitor.baseline.classes or ()):
        raise ValueError("it counts classes that the network has not")
    return stretch


def _shown(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LARGEST)


def _write(file: Path, data: bytes) -> None:
    """All or nothing, also where the process is killed, or the disk is full."""
    handle, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        Path(made).replace(file)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
