"""What an operator does to the whole service: load, unload, look at the folder, read metrics.

What is asked of one worker happens in all of them. Loading takes its own thread, so that requests
are answered meanwhile.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from service.drift.plain import from_plain, to_plain
from service.drift.report import describe
from service.errors import FoldserveError
from service.metrics import Snapshot, render, take_snapshot
from service.model import Model
from service.peers import Peers
from service.recording import Recorder, Recording
from service.registry import Registry
from service.statistics import merge
from service.watch import Watch

logger = logging.getLogger(__name__)

_METRICS_TIMEOUT_S = _DRIFT_TIMEOUT_S = 2.0
_RECORDING_TIMEOUT_S = 30.0  # files are written


class Control:
    """The operator's side of a worker."""

    def __init__(self, registry: Registry, peers: Peers, threads: int, recorder: Recorder) -> None:
        self.responses: Counter[int] = Counter()  # answers by status code
        self._registry, self._peers, self._threads = registry, peers, threads
        self._recorder = recorder
        self._executor = ThreadPoolExecutor(1, "control")

    def start(self) -> None:
        """Begins to listen to the other workers, on the running event loop."""
        self._peers.start(self._answer)

    async def load(self, name: str) -> None:
        """Loads a model anew; NotFound, LoadFailed. The other workers follow when it succeeds."""
        await self._here(self._registry.load, name)
        await self._everywhere_else("load", name)

    async def unload(self, name: str) -> None:
        """Takes a model away; NotFound."""
        await self._here(self._registry.unload, name)
        await self._everywhere_else("unload", name)

    async def recording(self, recording: Recording) -> bytes | None:
        """The sample of a version's inputs that all workers have kept; None where there are no
        rows."""
        await asyncio.gather(
            self._here(self._recorder.flush),
            self._peers.ask(_RECORDING_TIMEOUT_S, do="write-recordings"),
        )
        return await asyncio.get_running_loop().run_in_executor(self._executor, recording.read)

    async def forget_recording(self, model: Model) -> None:
        """Begins a new sample of a version's inputs in all workers, and removes the old one."""
        version = str(model.version)
        await self._peers.ask(do="forget-recording", name=model.name, version=version)
        if model.recording is not None:
            await self._here(model.recording.forget)

    async def scan(self) -> None:
        """Takes up what has changed in the folder: in this worker, for all are told to."""
        await self._here(self._registry.scan)

    async def watch(self, every_s: float) -> None:
        """Scans for ever; a scan that fails is logged, and the next one comes all the same."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.scan()
            except Exception:
                logger.exception("the folder of models could not be scanned")

    async def metrics(self) -> bytes:
        """The metrics of all workers."""
        others = await self._peers.ask(_METRICS_TIMEOUT_S, do="metrics")
        return render({**others, self._peers.number: self._snapshot()})

    async def drift(self, model: Model, watch: Watch, seconds: float | None) -> dict[str, object]:
        """The drift of a version in the last `seconds`, over all workers."""
        now = time.time()
        own = self._seen(watch, now, seconds)
        others = await self._peers.ask(
            _DRIFT_TIMEOUT_S,
            do="drift",
            name=model.name,
            version=str(model.version),
            seconds="" if seconds is None else str(seconds),
        )
        seen = [own, *(answer for answer in others.values() if answer)]
        merged = from_plain(own["stretch"])
        for other in seen[1:]:
            merged.merge(from_plain(other["stretch"]))
        started = min(one["stretch"]["layers"]["started"] for one in seen)
        return {
            "model_name": model.name,
            "model_version": str(model.version),
            **describe(merged, watch.baseline, watch.level, (watch.reference, watch.pictures)),
            "dropped": sum(one["dropped"] for one in seen),
            "first_nonfinite": next(filter(None, (one["first_nonfinite"] for one in seen)), None),
            "window_s": max(0.0, now - started),
        }

    async def reset_drift(self, model: Model) -> None:
        """Begins a new window in all workers."""
        if model.watch is not None:
            model.watch.monitor.reset()
        version = str(model.version)
        await self._peers.ask(_DRIFT_TIMEOUT_S, do="reset", name=model.name, version=version)

    async def statistics(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The statistics extension's document of every version, of all workers together."""
        others = await self._peers.ask(_METRICS_TIMEOUT_S, do="statistics")
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for documents in (self._statistics(), *others.values()):
            for name, version, document in documents:
                known = found.get((name, version))
                found[name, version] = merge(known, document) if known else document
        return found

    def close(self) -> None:
        """Ends the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _here(self, change: Callable[..., None], *names: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, partial(change, *names))

    async def _everywhere_else(self, what: str, name: str) -> None:
        for number, fault in (await self._peers.ask(do=what, name=name)).items():
            if fault:
                logger.error("worker %d: %s of model %s: %s", number, what, name, fault)

    async def _answer(self, question: dict[str, str]) -> object:
        if question["do"] == "metrics":
            return self._snapshot()
        if question["do"] in ("drift", "reset"):
            return self._answer_drift(question)
        if question["do"] == "statistics":
            return self._statistics()
        if question["do"] in ("write-recordings", "forget-recording"):
            await self._answer_recording(question)
            return None
        change = {"load": self._registry.load, "unload": self._registry.unload}[question["do"]]
        try:
            await self._here(change, question["name"])
        except FoldserveError as error:
            return str(error)
        return None

    async def _answer_recording(self, question: dict[str, str]) -> None:
        if question["do"] == "write-recordings":
            await self._here(self._recorder.flush)
            return
        try:
            recording = self._registry.get(question["name"], question["version"]).recording
        except FoldserveError:  # it is loaded here a little later, or gone a little earlier
            return
        if recording is not None:
            await self._here(recording.forget)

    def _answer_drift(self, question: dict[str, str]) -> object:
        try:
            watch = self._registry.get(question["name"], question["version"]).watch
        except FoldserveError:  # it is loaded here a little later, or gone a little earlier
            return None
        if watch is None:
            return None
        if question["do"] == "reset":
            watch.monitor.reset()
            return None
        seconds = float(question["seconds"]) if question["seconds"] else None
        return self._seen(watch, time.time(), seconds)

    def _seen(self, watch: Watch, now: float, seconds: float | None) -> dict[str, Any]:
        monitor = watch.monitor
        return {
            "stretch": to_plain(monitor.read(now, seconds)),
            "dropped": monitor.dropped,
            "first_nonfinite": monitor.first_nonfinite,
        }

    def _snapshot(self) -> Snapshot:
        return take_snapshot(self._registry, self._threads, self.responses)

    def _statistics(self) -> list[tuple[str, str, dict[str, Any]]]:
        models = [entry.model for entry in self._registry.index() if entry.model is not None]
        return [(m.name, str(m.version), m.statistics.document()) for m in models]
