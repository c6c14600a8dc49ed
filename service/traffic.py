"""The traffic of all workers together, judged: its drift now, by layer and over time; its alarms.

Each worker watches what it answers. Any of them can ask the others, merge, and judge; that takes a
thread of its own, so that requests are answered meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from service.alarms import Alarms
from service.drift.monitor import Stretch
from service.drift.plain import from_plain, to_plain
from service.drift.report import describe, describe_history, describe_layer
from service.errors import FoldserveError
from service.model import Model
from service.peers import Peers
from service.registry import Registry
from service.watch import Watch

logger = logging.getLogger(__name__)

QUESTIONS = ("drift", "history", "reset")  # that a worker asks the others, and `answer` answers
_TIMEOUT_S = 2.0

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the workers have seen of a version, in the forms in which they tell each other."""

    model: Model
    watch: Watch
    now: float
    answers: list[Document]

    def describe(self, what: Callable[[Stretch], Document]) -> Document:
        """All of it merged, and described by `what`."""
        merged = from_plain(self.answers[0]["stretch"])
        for other in self.answers[1:]:
            merged.merge(from_plain(other["stretch"]))
        started = min(one["stretch"]["layers"]["started"] for one in self.answers)
        window_s = max(0.0, self.now - started)
        return {**_named(self.model), **what(merged), "window_s": window_s}


class Traffic:
    """The traffic of every watched version. `alarms` are told of it by one of the workers."""

    def __init__(self, registry: Registry, peers: Peers, alarms: Alarms) -> None:
        self.alarms = alarms
        self._registry, self._peers = registry, peers
        self._judge = ThreadPoolExecutor(1, "judge")

    async def drift(self, model: Model, watch: Watch, seconds: float | None) -> Document:
        """The drift of a version in the last `seconds`, over all workers."""
        seen = await self._ask(model, watch, seconds)
        causes_from = (watch.reference, watch.pictures)
        what = partial(describe, baseline=watch.baseline, level=watch.level, reference=causes_from)
        nonfinite = (one["first_nonfinite"] for one in seen.answers)
        return {
            **await self._in_thread(partial(seen.describe, what)),
            "dropped": sum(one["dropped"] for one in seen.answers),
            "first_nonfinite": next(filter(None, nonfinite), None),
        }

    async def drift_of_layer(
        self, model: Model, watch: Watch, name: str, seconds: float | None
    ) -> Document:
        """One layer's channels in the last `seconds`, over all workers; KeyError."""
        seen = await self._ask(model, watch, seconds)
        what = partial(describe_layer, baseline=watch.baseline, level=watch.level, name=name)
        return await self._in_thread(partial(seen.describe, what))

    async def history(self, model: Model, watch: Watch) -> Document:
        """Every window that is kept, over all workers, each judged by itself."""
        others = await self._ask_others("history", model)
        windows = chain(_windows(watch), *filter(None, others))
        limits = watch.watcher.limits
        return {
            **_named(model),
            "step_s": limits.step_s,
            "steps": limits.steps,
            **await self._in_thread(partial(_history, list(windows), watch)),
        }

    async def reset(self, model: Model) -> None:
        """Begins a new window in all workers."""
        if model.watch is not None:
            model.watch.reset()
        await self._ask_others("reset", model)

    async def look(self, every_s: float) -> None:
        """Looks at the traffic of every version for ever; meant for one of the workers."""
        while True:
            try:
                await self._look()
            except Exception:
                logger.exception("the drift of the models could not be looked at")
            await asyncio.sleep(every_s)

    def answer(self, question: Document) -> object:
        """What another worker is told."""
        try:
            watch = self._registry.get(question["name"], question["version"]).watch
        except FoldserveError:  # it is loaded here a little later, or gone a little earlier
            return None
        if watch is None:
            return None
        if question["do"] == "reset":
            watch.reset()
            return None
        if question["do"] == "history":
            return _windows(watch)
        return _seen(watch, time.time(), question["seconds"])

    def close(self) -> None:
        """Ends the thread."""
        self._judge.shutdown(wait=False, cancel_futures=True)
        self.alarms.close()

    async def _look(self) -> None:
        models = [entry.model for entry in self._registry.index() if entry.model is not None]
        watched = [(model, model.watch) for model in models if model.watch is not None]
        self.alarms.keep({(model.name, str(model.version)) for model, _ in watched})
        for model, watch in watched:
            self.alarms.look(await self.drift(model, watch, None))

    async def _ask(self, model: Model, watch: Watch, seconds: float | None) -> _Seen:
        now = time.time()
        own = _seen(watch, now, seconds)
        others = await self._ask_others("drift", model, seconds=seconds)
        return _Seen(model, watch, now, [own, *filter(None, others)])

    async def _ask_others(self, do: str, model: Model, **more: object) -> list[Any]:
        name, version = model.name, str(model.version)
        answers = await self._peers.ask(_TIMEOUT_S, do=do, name=name, version=version, **more)
        return list(answers.values())

    async def _in_thread(self, judge: Callable[[], Document]) -> Document:
        return await asyncio.get_running_loop().run_in_executor(self._judge, judge)


def _named(model: Model) -> Document:
    return {"model_name": model.name, "model_version": str(model.version)}


def _seen(watch: Watch, now: float, seconds: float | None) -> Document:
    monitor = watch.monitor
    return {
        "stretch": to_plain(monitor.read(now, seconds)),
        "dropped": monitor.dropped,
        "first_nonfinite": monitor.first_nonfinite,
    }


def _windows(watch: Watch) -> list[Document]:
    return [to_plain(stretch) for stretch in watch.monitor.stretches(time.time())]


def _history(windows: list[Document], watch: Watch) -> Document:
    """Windows that began together are one, whichever worker saw them."""
    steps: dict[float, Stretch] = {}
    for plain in windows:
        stretch = from_plain(plain)
        if (known := steps.setdefault(stretch.layers.started, stretch)) is not stretch:
            known.merge(stretch)
    return describe_history([steps[began] for began in sorted(steps)], watch.baseline, watch.level)
