"""What an operator does to the whole service: load, unload, look at the folder, read numbers, log.

What is asked of one worker happens in all of them. Loading takes its own thread, so that requests
are answered meanwhile; so does judging traffic.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

from service import drift_reports as reports
from service.alarms import Alarms
from service.errors import FoldserveError, NotReady
from service.logs import Log, LogSettings
from service.metrics import Snapshot, render, take_snapshot
from service.model import Model
from service.peers import Peers
from service.recording import Recorder, Recording
from service.registry import Registry
from service.statistics import merge
from service.watch import Watch

logger = logging.getLogger(__name__)

_METRICS_TIMEOUT_S = _DRIFT_TIMEOUT_S = _LOG_TIMEOUT_S = 2.0
_RECORDING_TIMEOUT_S = 30.0  # files are written


class Control:
    """The operator's side of a worker."""

    def __init__(
        self,
        registry: Registry,
        peers: Peers,
        threads: int,
        recorder: Recorder,
        log: Log | None = None,
        alarms: Alarms | None = None,
    ) -> None:
        """`alarms` are told of the drift of every version, by one of the workers."""
        self.responses: Counter[int] = Counter()  # answers by status code
        self._registry, self._peers, self._threads = registry, peers, threads
        self._recorder, self._log, self._alarms = recorder, log, alarms or Alarms()
        self._executor = ThreadPoolExecutor(1, "control")
        self._judge = ThreadPoolExecutor(1, "judge")

    def start(self) -> None:
        """Begins to listen to the other workers, on the running event loop."""
        self._peers.start(self._answer)

    async def join(self) -> None:
        """Takes over what was changed in the others since they started: what is logged."""
        if self._log is not None:
            answers = await self._peers.ask(_LOG_TIMEOUT_S, do="log", change={})
            for settings in filter(None, answers.values()):
                self._log.change(**settings)

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

    async def look_for_drift(self, every_s: float) -> None:
        """Looks at the traffic of every version for ever; meant for one of the workers."""
        while True:
            try:
                await self._look()
            except Exception:
                logger.exception("the drift of the models could not be looked at")
            await asyncio.sleep(every_s)

    async def metrics(self) -> bytes:
        """The metrics of all workers."""
        others = await self._peers.ask(_METRICS_TIMEOUT_S, do="metrics")
        return render({**others, self._peers.number: self._snapshot()})

    async def drift(self, model: Model, watch: Watch, seconds: float | None) -> dict[str, Any]:
        """The drift of a version in the last `seconds`, over all workers."""
        seen = await self._seen_by_all(model, watch, seconds)
        return await self._judged(reports.of_version, model, watch, seen)

    async def drift_of_layer(
        self, model: Model, watch: Watch, layer: str, seconds: float | None
    ) -> dict[str, Any]:
        """One layer's channels in the last `seconds`, over all workers; KeyError."""
        seen = await self._seen_by_all(model, watch, seconds)
        return await self._judged(reports.of_layer, model, watch, seen, layer)

    async def drift_history(self, model: Model, watch: Watch) -> dict[str, Any]:
        """Every window that is kept, over all workers, each judged by itself."""
        version = str(model.version)
        others = await self._peers.ask(
            _DRIFT_TIMEOUT_S, do="history", name=model.name, version=version
        )
        kept = [reports.kept(watch), *filter(None, others.values())]
        return await self._judged(reports.of_time, model, watch, kept)

    async def _seen_by_all(
        self, model: Model, watch: Watch, seconds: float | None
    ) -> list[reports.Plain]:
        others = await self._peers.ask(
            _DRIFT_TIMEOUT_S,
            do="drift",
            name=model.name,
            version=str(model.version),
            seconds="" if seconds is None else str(seconds),
        )
        return [reports.seen(watch, seconds), *filter(None, others.values())]

    async def _judged(self, report: Callable[..., reports.Plain], *of: object) -> reports.Plain:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._judge, report, *of)

    async def reset_drift(self, model: Model) -> None:
        """Begins a new window in all workers."""
        if model.watch is not None:
            model.watch.monitor.reset()
        version = str(model.version)
        await self._peers.ask(_DRIFT_TIMEOUT_S, do="reset", name=model.name, version=version)

    async def statistics(self, models: Iterable[Model]) -> list[dict[str, Any]]:
        """The statistics extension's entry of each version, of all workers together."""
        others = await self._peers.ask(_METRICS_TIMEOUT_S, do="statistics")
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for documents in (self._statistics(), *others.values()):
            for name, version, document in documents:
                known = found.get((name, version))
                found[name, version] = merge(known, document) if known else document
        keys = [(model.name, str(model.version)) for model in models]
        return [{"name": n, "version": v, **found[n, v]} for n, v in keys if (n, v) in found]

    @property
    def log_settings(self) -> LogSettings:
        """What is logged; NotReady where the log is not the service's own."""
        return self._own_log().settings

    async def change_log(self, change: dict[str, Any]) -> LogSettings:
        """Changes fields of the settings in all workers; NotReady as above."""
        log = self._own_log()
        log.change(**change)
        await self._peers.ask(_LOG_TIMEOUT_S, do="log", change=change)
        return log.settings

    def close(self) -> None:
        """Ends the threads."""
        for executor in (self._executor, self._judge):
            executor.shutdown(wait=False, cancel_futures=True)
        self._alarms.close()

    def _own_log(self) -> Log:
        if self._log is None:
            raise NotReady(
                "log: expected the service's own, but it belongs to who runs this process"
            )
        return self._log

    async def _here(self, change: Callable[..., None], *names: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, partial(change, *names))

    async def _everywhere_else(self, what: str, name: str) -> None:
        for number, fault in (await self._peers.ask(do=what, name=name)).items():
            if fault:
                logger.error("worker %d: %s of model %s: %s", number, what, name, fault)

    async def _answer(self, question: dict[str, Any]) -> object:
        if question["do"] == "metrics":
            return self._snapshot()
        if question["do"] in ("drift", "history", "reset"):
            return self._answer_drift(question)
        if question["do"] == "statistics":
            return self._statistics()
        if question["do"] == "log":
            return self._answer_log(question["change"])
        if question["do"] in ("write-recordings", "forget-recording"):
            await self._answer_recording(question)
            return None
        change = {"load": self._registry.load, "unload": self._registry.unload}[question["do"]]
        try:
            await self._here(change, question["name"])
        except FoldserveError as error:
            return str(error)
        return None

    def _answer_log(self, change: dict[str, Any]) -> object:
        if self._log is None:
            return None
        self._log.change(**change)
        return asdict(self._log.settings)

    async def _look(self) -> None:
        models = [entry.model for entry in self._registry.index() if entry.model is not None]
        watched = [(model, model.watch) for model in models if model.watch is not None]
        self._alarms.keep({(model.name, str(model.version)) for model, _ in watched})
        for model, watch in watched:
            self._alarms.look(await self.drift(model, watch, None))

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

    def _answer_drift(self, question: dict[str, Any]) -> object:
        try:
            watch = self._registry.get(question["name"], question["version"]).watch
        except FoldserveError:  # it is loaded here a little later, or gone a little earlier
            return None
        if watch is None:
            return None
        if question["do"] == "reset":
            watch.monitor.reset()
            return None
        if question["do"] == "history":
            return reports.kept(watch)
        return reports.seen(watch, float(question["seconds"]) if question["seconds"] else None)

    def _snapshot(self) -> Snapshot:
        return take_snapshot(self._registry, self._threads, self.responses, self._alarms)

    def _statistics(self) -> list[tuple[str, str, dict[str, Any]]]:
        models = [entry.model for entry in self._registry.index() if entry.model is not None]
        return [(m.name, str(m.version), m.statistics.document()) for m in models]
