"""What is said of the drift of a version, from what each worker of the service has seen.

`seen` and `kept` are one worker's part, as JSON's own types; the reports merge the parts of all.
"""

import time
from itertools import chain
from typing import Any

from service.drift.monitor import Stretch
from service.drift.plain import from_plain, to_plain
from service.drift.report import describe, describe_history, describe_layer
from service.model import Model
from service.watch import Watch

Plain = dict[str, Any]


def seen(watch: Watch, seconds: float | None) -> Plain:
    """What this worker has seen in the last `seconds`; None: in all that is kept."""
    monitor = watch.monitor
    return {
        "stretch": to_plain(monitor.read(time.time(), seconds)),
        "dropped": monitor.dropped,
        "first_nonfinite": monitor.first_nonfinite,
    }


def kept(watch: Watch) -> list[Plain]:
    """Every window that this worker keeps."""
    return [to_plain(stretch) for stretch in watch.monitor.stretches(time.time())]


def of_version(model: Model, watch: Watch, parts: list[Plain]) -> Plain:
    """The verdict, with all layers; of the parts that `seen` gives."""
    stretch, window_s = _merged(parts)
    return {
        **_names(model),
        **describe(stretch, watch.baseline, watch.level, (watch.reference, watch.pictures)),
        "dropped": sum(part["dropped"] for part in parts),
        "first_nonfinite": next(filter(None, (part["first_nonfinite"] for part in parts)), None),
        "window_s": window_s,
    }


def of_layer(model: Model, watch: Watch, parts: list[Plain], layer: str) -> Plain:
    """One layer with all its channels; of the parts that `seen` gives. KeyError."""
    stretch, window_s = _merged(parts)
    report = describe_layer(stretch, watch.baseline, watch.level, layer)
    return {**_names(model), **report, "window_s": window_s}


def of_time(model: Model, watch: Watch, parts: list[list[Plain]]) -> Plain:
    """Window after window; of the parts that `kept` gives."""
    windows: dict[float, Stretch] = {}
    for stretch in map(from_plain, chain(*parts)):
        if (known := windows.setdefault(stretch.layers.started, stretch)) is not stretch:
            known.merge(stretch)
    limits = watch.watcher.limits
    stretches = [windows[started] for started in sorted(windows)]
    return {
        **_names(model),
        "step_s": limits.step_s,
        "steps": limits.steps,
        **describe_history(stretches, watch.baseline, watch.level),
    }


def _names(model: Model) -> Plain:
    return {"model_name": model.name, "model_version": str(model.version)}


def _merged(parts: list[Plain]) -> tuple[Stretch, float]:
    """All of it, and the seconds since it began."""
    stretches = [from_plain(part["stretch"]) for part in parts]
    started = min(stretch.layers.started for stretch in stretches)
    merged = stretches[0]
    for other in stretches[1:]:
        merged.merge(other)
    return merged, max(0.0, time.time() - started)
