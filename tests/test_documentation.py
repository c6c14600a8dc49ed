"""The documentation names what there is, and nothing else."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from typer.main import get_command

from service.api.routes import ROUTERS
from service.manifest import MANIFEST, REQUIRED, SOURCE
from service.settings import PREFIX, Settings
from training.cli import app
from training.config import PRESETS
from training.doctor import RULES as DOCTORS_RULES
from training.fold.rules import RULES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_in_the_readme_and_no_other() -> None:
    commands = set(getattr(get_command(app), "commands"))  # noqa: B009
    assert set(re.findall(r"^\| `foldserve (\w+)", README, re.MULTILINE)) == commands
    assert set(re.findall(r"\bfoldserve ([a-z]+) [\w./-]+", README)) <= commands


def test_every_preset_is_in_the_readme() -> None:
    for preset in PRESETS:
        assert f"`{preset}`" in README


def test_tables_of_settings_and_metrics_are_as_the_code_has_them() -> None:
    """`python docs/tables.py` writes them."""
    page = (ROOT / "docs" / "operations.md").read_text()
    written: Callable[[str], str] = runpy.run_path(str(ROOT / "docs" / "tables.py"))["written"]
    assert written(page) == page
    for name in Settings.model_fields:
        assert f"`{PREFIX}{name.upper()}`" in page


def test_every_rule_is_explained() -> None:
    text = (ROOT / "docs" / "folding.md").read_text()
    for rule in RULES:
        assert f"| `{rule.name}` |" in text


def test_every_rule_of_the_doctor_is_explained_and_no_other() -> None:
    text = (ROOT / "docs" / "normalization-rules.md").read_text()
    rows = dict(re.findall(r"^\| (BN\d{3}) \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE))
    assert rows == {rule.id: rule.title for rule in DOCTORS_RULES}


def test_every_route_is_in_the_readme() -> None:
    """By the last word of its path: `/infer`, `/predict`, `/normalization`, …"""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            words = [word for word in route.path.split("/") if word and "{" not in word]
            assert f"/{words[-1]}" in README, route.path


def test_every_file_of_a_bundle_is_explained() -> None:
    text = (ROOT / "models" / "README.md").read_text()
    for name in (MANIFEST, SOURCE, *REQUIRED):
        assert f"| `{name}` |" in text


@pytest.mark.parametrize(
    "name", ["README.md", "models/README.md", *map(str, (ROOT / "docs").rglob("*.md"))]
)
def test_links_lead_to_files(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{name}: {target}"
