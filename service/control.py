"""What an operator does to the whole service: load, unload, look at the folder, read numbers, log.

What is asked of one worker happens in all of them. Loading takes its own thread, so that requests
are answered meanwhile. `traffic` is the part that judges what the models are asked.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

from service.alarms import Alarms
from service.errors import FoldserveError, NotReady
from service.logs import Log, LogSettings
from service.metrics import Snapshot, take_snapshot
from service.model import Model
from service.peers import Peers
from service.recording import Recorder, Recording
from service.registry import Registry
from service.statistics import merge
from service.traffic import QUESTIONS, Traffic

logger = logging.getLogger(__name__)

_METRICS_TIMEOUT_S = _LOG_TIMEOUT_S = 2.0
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
        self._recorder, self._log = recorder, log
        self.traffic = Traffic(registry, peers, alarms or Alarms())
        self._executor = ThreadPoolExecutor(1, "control")

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

    async def metrics(self) -> bytes:
        """The metrics of all workers."""
        from service.exposition import render

        others = await self._peers.ask(_METRICS_TIMEOUT_S, do="metrics")
        return render({**others, self._peers.number: self._snapshot()})

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
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.traffic.close()

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
        if question["do"] in QUESTIONS:
            return self.traffic.answer(question)
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

    def _snapshot(self) -> Snapshot:
        return take_snapshot(self._registry, self._threads, self.responses, self.traffic.alarms)

    def _statistics(self) -> list[tuple[str, str, dict[str, Any]]]:
        models = [entry.model for entry in self._registry.index() if entry.model is not None]
        return [(m.name, str(m.version), m.statistics.document()) for m in models]
