"""The table of metrics in docs/operations.md, made by `python -m tests.metrics_table`.

Writes it between the two markers of the page; a test compares.
"""

import re

from service import metrics
from tests.settings_table import PAGE

_MARKED = re.compile(r"(?<=<!-- metrics -->\n).*?(?=<!-- /metrics -->)", re.DOTALL)
_MODEL = "model, version, worker"
_KINDS: list[tuple[dict[str, str], str, str]] = [
    (metrics.COUNTERS, "counter", _MODEL),
    (metrics.REASONS, "counter", f"{_MODEL}, reason"),
    (metrics.HISTOGRAMS, "histogram", _MODEL),
    (metrics.GAUGES, "gauge", _MODEL),
    (metrics.PROCESS, "gauge", "worker"),
    (metrics.RESPONSES, "counter", "worker, status"),
    (metrics.VERDICTS, "gauge", "model, version, verdict"),
    (metrics.DRIFT, "gauge", "model, version"),
    (metrics.LAYERS, "gauge", "model, version, layer"),
    (metrics.DELIVERIES, "counter", "worker, outcome"),
]


def table() -> str:
    """One row a metric, in the order of the code."""
    rows = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for named, kind, labels in _KINDS:
        for name, text in named.items():
            shown = f"{name}_total" if kind == "counter" else name
            more = ", phase" if name == "foldserve_load_seconds" else ""
            rows.append(f"| `{shown}` | {kind} | {labels}{more} | {text} |")
    return "\n".join(rows) + "\n"


def documented() -> str:
    """The table that the page has."""
    found = _MARKED.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None, "docs/operations.md: expected the markers of the metrics"
    return found[0]


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_MARKED.sub(lambda _: table(), page), encoding="utf-8")
