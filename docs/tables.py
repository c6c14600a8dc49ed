"""Writes the tables of operations.md that are made from the code: `python docs/tables.py`."""

import re
import sys
from pathlib import Path
from typing import Any, get_args

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from pydantic.fields import FieldInfo  # noqa: E402

from service import metrics  # noqa: E402
from service.settings import PREFIX, Settings  # noqa: E402

PAGE = DOCS / "operations.md"


def tables() -> dict[str, str]:
    """Every table by the name of its place in the page."""
    return {"settings": settings_table(), "metrics": metrics_table()}


def settings_table() -> str:
    """Every setting: variable, default, range, meaning."""
    rows = ["| variable | default | range | what |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        shown = f"`{default}`" if (default := str(field.default)) not in ("", "None") else "none"
        rows.append(
            f"| `{PREFIX}{name.upper()}` | {shown} | {_range(field) or '–'} | {field.description} |"
        )
    return "\n".join(rows)


def metrics_table() -> str:
    """Every metric: name, kind, labels, meaning."""
    model = "model, version, worker"
    kinds: list[tuple[dict[str, str], str, str]] = [
        (metrics.COUNTERS, "counter", model),
        (metrics.REASONS, "counter", f"{model}, reason"),
        (metrics.HISTOGRAMS, "histogram", model),
        (metrics.GAUGES, "gauge", model),
        (metrics.PROCESS, "gauge", "worker"),
        (metrics.RESPONSES, "counter", "worker, status"),
    ]
    rows = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for named, kind, labels in kinds:
        for name, text in named.items():
            shown = f"{name}_total" if kind == "counter" else name
            more = ", phase" if name == "foldserve_load_seconds" else ""
            rows.append(f"| `{shown}` | {kind} | {labels}{more} | {text} |")
    return "\n".join(rows)


def written(page: str) -> str:
    """The page with every table as it should be."""
    for name, table in tables().items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        page = place.sub(lambda found, table=table: f"{found[1]}{table}{found[2]}", page)
    return page


def _range(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for item in field.metadata:
        for bound in ("ge", "gt", "le"):
            if (value := getattr(item, bound, None)) is not None:
                bounds[bound] = value
    if bounds:
        low = f"above {bounds['gt']}" if "gt" in bounds else f"{bounds.get('ge', 0)}"
        return f"{low} … {bounds['le']}"
    words = get_args(field.annotation)
    return ", ".join(words) if words and all(isinstance(word, str) for word in words) else ""


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
