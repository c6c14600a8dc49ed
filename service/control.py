"""What an operator does to the whole service: load, unload, look at the folder, read numbers, log.

What is asked of one worker happens in all of them. Loading takes its own thread, so that requests
are answered meanwhile.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Any

from service.drift.monitor import Stretch
from service.drift.plain import from_plain, to_plain
from service.drift.report import describe, describe_history, describe_layer
from service.errors import FoldserveError, NotReady
from service.logs import Log, LogSettings
from service.metrics import Snapshot, render, take_snapshot
from service.model import Model
from service.peers import Peers
from service.registry import Registry
from service.statistics import merge
from service.watch import Watch

logger = logging.getLogger(__name__)

_METRICS_TIMEOUT_S = _DRIFT_TIMEOUT_S = _LOG_TIMEOUT_S = 2.0


class Control:
    """The operator's side of a worker."""

    def __init__(
        self, registry: Registry, peers: Peers, threads: int, log: Log | None = None
    ) -> None:
        self.responses: Counter[int] = Counter()  # answers by status code
        self._registry, self._peers, self._threads = registry, peers, threads
        self._log = log
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
        seen, merged, window_s = await self._merged(model, watch, seconds)
        return {
            "model_name": model.name,
            "model_version": str(model.version),
            **describe(merged, watch.baseline, watch.level, (watch.reference, watch.pictures)),
            "dropped": sum(one["dropped"] for one in seen),
            "first_nonfinite": next(filter(None, (one["first_nonfinite"] for one in seen)), None),
            "window_s": window_s,
        }

    async def drift_of_layer(
        self, model: Model, watch: Watch, name: str, seconds: float | None
    ) -> dict[str, object]:
        """One layer's channels in the last `seconds`, over all workers; KeyError."""
        _, merged, window_s = await self._merged(model, watch, seconds)
        return {
            "model_name": model.name,
            "model_version": str(model.version),
            **describe_layer(merged, watch.baseline, watch.level, name),
            "window_s": window_s,
        }

    async def drift_history(self, model: Model, watch: Watch) -> dict[str, object]:
        """Every window that is kept, over all workers, each judged by itself."""
        now = time.time()
        steps: dict[float, Stretch] = {}
        version = str(model.version)
        others = await self._peers.ask(
            _DRIFT_TIMEOUT_S, do="history", name=model.name, version=version
        )
        for plain in chain(self._kept(watch, now), *(kept for kept in others.values() if kept)):
            stretch = from_plain(plain)
            if (known := steps.setdefault(stretch.layers.started, stretch)) is not stretch:
                known.merge(stretch)
        stretches = [steps[started] for started in sorted(steps)]
        limits = watch.watcher.limits
        return {
            "model_name": model.name,
            "model_version": version,
            "step_s": limits.step_s,
            "steps": limits.steps,
            **await asyncio.to_thread(describe_history, stretches, watch.baseline, watch.level),
        }

    async def _merged(
        self, model: Model, watch: Watch, seconds: float | None
    ) -> tuple[list[dict[str, Any]], Stretch, float]:
        """What each worker has seen, all of it merged, and the seconds since it began."""
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
        return seen, merged, max(0.0, now - started)

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
        """Ends the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

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
            return self._kept(watch, time.time())
        seconds = float(question["seconds"]) if question["seconds"] else None
        return self._seen(watch, time.time(), seconds)

    def _seen(self, watch: Watch, now: float, seconds: float | None) -> dict[str, Any]:
        monitor = watch.monitor
        return {
            "stretch": to_plain(monitor.read(now, seconds)),
            "dropped": monitor.dropped,
            "first_nonfinite": monitor.first_nonfinite,
        }

    def _kept(self, watch: Watch, now: float) -> list[dict[str, Any]]:
        return [to_plain(stretch) for stretch in watch.monitor.stretches(now)]

    def _snapshot(self) -> Snapshot:
        return take_snapshot(self._registry, self._threads, self.responses)

    def _statistics(self) -> list[tuple[str, str, dict[str, Any]]]:
        models = [entry.model for entry in self._registry.index() if entry.model is not None]
        return [(m.name, str(m.version), m.statistics.document()) for m in models]
