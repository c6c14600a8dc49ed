"""Alarms: what is said when the verdict on a version's traffic changes, and when it ends.

One worker of the service looks at the merged traffic of all every so often. A change counts when
the next look confirms it: a single look is wrong as often as its level says, and there are many.
It is one line in the log, and where drift begins or ends a message to the webhook. The latest
figures are kept for the metrics.
"""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.webhook import Webhook

logger = logging.getLogger(__name__)

_WORST = 5  # layers of a message
MOST_LAYERS = 256  # of a version, in network order, that have series of their own

Report = dict[str, Any]  # what GET …/drift answers
Version = tuple[str, str]


@dataclass(slots=True)
class _Standing:
    """The verdict that holds, and the one that was seen last."""

    verdict: str = "insufficient"
    seen: str = "insufficient"


class Alarms:
    """Remembers the verdict of every version."""

    def __init__(self, webhook: Webhook | None = None) -> None:
        self._webhook = webhook
        self._standing: dict[Version, _Standing] = {}
        self._figures: dict[Version, Report] = {}

    @property
    def figures(self) -> list[Report]:
        """What the metrics show of each version, as of the last look."""
        return list(self._figures.values())

    @property
    def deliveries(self) -> Counter[str]:
        """Messages to the webhook, by what became of them."""
        return Counter() if self._webhook is None else Counter(self._webhook.outcomes)

    def look(self, report: Report) -> None:
        """Takes the report on one version, and tells of a change that it confirms."""
        version = (report["model_name"], report["model_version"])
        self._figures[version] = _figures(report)
        standing = self._standing.setdefault(version, _Standing())
        verdict = report["verdict"]
        confirmed, standing.seen = verdict == standing.seen, verdict
        if confirmed and verdict != standing.verdict:
            before, standing.verdict = standing.verdict, verdict
            self._tell(_message(report, before))

    def keep(self, versions: Collection[Version]) -> None:
        """Forgets all other versions: they are no longer served."""
        for gone in self._standing.keys() - set(versions):
            del self._standing[gone]
            del self._figures[gone]

    def _tell(self, message: Report) -> None:
        words = (message["verdict"], message["before"])
        logger.log(
            logging.WARNING if words[0] == "drift" else logging.INFO,
            "model %s/%s: the verdict on its traffic is %s, and was %s: %s",
            message["model_name"],
            message["model_version"],
            *words,
            message["likely_cause"] or message["diagnosis"],
            extra={"fields": message},
        )
        if self._webhook is not None and "drift" in words:
            self._webhook.send({"time": datetime.now(UTC).isoformat(), **message})

    def close(self) -> None:
        """Ends the webhook's thread."""
        if self._webhook is not None:
            self._webhook.close()


def _message(report: Report, before: str) -> Report:
    """The essentials of a report, as JSON's own types."""
    taken = ("model_name", "model_version", "verdict", "diagnosis", "likely_cause", "n", "dropped")
    worst = sorted(report["layers"], key=_effect, reverse=True)[:_WORST]
    fields = ("name", "mean_shift", "variance_shift", "alarm")
    return {
        "event": "drift",
        **{field: report[field] for field in taken},
        "before": before,
        "window_s": report["window_s"],
        "outliers": report["outliers"]["share"],
        "layers": [{field: layer[field] for field in fields} for layer in worst],
    }


def _figures(report: Report) -> Report:
    return {
        "model": report["model_name"],
        "version": report["model_version"],
        "foldserve_drift_verdict": report["verdict"],
        "foldserve_drift_images": report["n"],
        "foldserve_drift_dropped_images": report["dropped"],
        "foldserve_drift_nonfinite_images": report["nonfinite"],
        "foldserve_drift_outlier_images": report["outliers"]["count"],
        "foldserve_drift_layers_alarmed": sum(layer["alarm"] for layer in report["layers"]),
        "layers": [
            {
                "layer": layer["name"],
                "foldserve_drift_mean_shift": layer["mean_shift"],
                "foldserve_drift_variance_shift": layer["variance_shift"],
                "foldserve_drift_alarm": int(layer["alarm"]),
            }
            for layer in report["layers"][:MOST_LAYERS]
        ],
    }


def _effect(layer: Report) -> float:
    """The larger effect, in units of its floor."""
    mean = float(layer["mean_shift"] / layer["mean_floor"])
    return max(mean, float(layer["variance_shift"] / layer["variance_floor"]))
