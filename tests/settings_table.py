"""The table of settings in docs/operations.md, made by `python -m tests.settings_table`.

Writes it between the two markers of the page; a test compares.
"""

import re
from pathlib import Path
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from service.settings import PREFIX, Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
_MARKED = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)


def table() -> str:
    """One row a setting, in the order of the code."""
    rows = ["| variable | default | range | what |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        shown = f"`{default}`" if default else "none"
        rows.append(
            f"| `{PREFIX}{name.upper()}` | {shown} | {_range(field)} | {field.description} |"
        )
    return "\n".join(rows) + "\n"


def documented() -> str:
    """The table that the page has."""
    found = _MARKED.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None, "docs/operations.md: expected the markers of the settings"
    return found[0]


def _range(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(choices)
    bounds = [_bound(limit) for limit in field.metadata]
    return " ".join(bound for bound in bounds if bound)


def _choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["false", "true"]
    if get_origin(annotation) is not None and type(None) not in get_args(annotation):
        return [str(choice) for choice in get_args(annotation)]
    return []


def _bound(limit: object) -> str:
    match limit:
        case Ge(ge=value):
            return f"from {value}"
        case Gt(gt=value):
            return f"above {value}"
        case Le(le=value):
            return f"to {value}"
        case Lt(lt=value):
            return f"below {value}"
    return ""


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_MARKED.sub(lambda _: table(), text), encoding="utf-8")
