"""The documentation names what there is, and nothing else."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from service.api.routes import ROUTERS
from service.manifest import MANIFEST, REQUIRED, SOURCE
from tests import metrics_table
from tests.settings_table import documented, table
from training import normalization
from training.cli import app
from training.config import PRESETS, Norm
from training.doctor import RULES as DOCTORS_RULES
from training.experiments import NAMES as EXPERIMENTS
from training.fold.rules import RULES
from training.normalization.conventions import CONVENTIONS, Convention

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_in_the_readme_and_no_other() -> None:
    commands = set(getattr(get_command(app), "commands"))  # noqa: B009
    assert set(re.findall(r"^\| `foldserve (\w+)", README, re.MULTILINE)) == commands
    assert set(re.findall(r"\bfoldserve ([a-z]+) [\w./-]+", README)) <= commands


def test_every_preset_is_in_the_readme() -> None:
    for preset in PRESETS:
        assert f"`{preset}`" in README


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert documented() == table(), "python -m tests.settings_table writes it"


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    assert metrics_table.documented() == metrics_table.table(), "python -m tests.metrics_table"


def test_the_answers_to_complaints_name_tests_that_there_are() -> None:
    text = (ROOT / "docs" / "serving.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 26))
    for number, named in rows:
        for path, test in re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", named):
            file = ROOT / path
            assert file.exists(), f"complaint {number}: {path}"
            assert f"def {test}" in file.read_text(), f"complaint {number}: {test}"


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
        for entry in router.entries:
            if entry.operation is None:
                continue
            words = [word for word in entry.path.split("/") if word and "{" not in word]
            assert f"/{words[-1]}" in README, entry.path


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


NORMALIZATION = (ROOT / "docs" / "normalization.md").read_text()


def test_every_item_of_the_source_documents_leads_to_what_there_is() -> None:
    """The paths of the inventory exist, and the tests named there are in their files."""
    items = re.findall(r"^\| (00\d)-(\d+) \|.*\|$", NORMALIZATION, re.MULTILINE)
    counts = {"000": 11, "001": 21, "002": 13, "003": 11, "004": 9}
    expected = [(name, str(i)) for name, count in counts.items() for i in range(1, count + 1)]
    assert items == expected
    for path in re.findall(r"`((?:tests|training|service)/[\w/.]+(?:::\w+)?)`", NORMALIZATION):
        file, _, test = path.partition("::")
        assert (ROOT / file).exists(), path
        assert not test or f"def {test}(" in (ROOT / file).read_text(), path


def test_every_normalization_is_documented() -> None:
    for norm in get_args(Norm):
        assert f"`{norm}`" in NORMALIZATION
    for name in normalization.__all__:
        if name[0].isupper() and "Norm" in name and name != "NORMS":
            assert re.search(rf"`{re.sub(r'[123]d$', '', name)}[123d/]*`", NORMALIZATION), name


def test_the_conventions_are_those_of_the_code() -> None:
    pattern = r"^\| (\w+) \| the (old|new) value \| (\S+) \| (\S+) \| (\w+) \|$"
    rows = re.findall(pattern, NORMALIZATION, re.MULTILINE)
    found = {
        name: Convention(weighs, None if m == "none" else float(m), float(eps), kind == "unbiased")
        for name, weighs, m, eps, kind in rows
    }
    assert found == CONVENTIONS


def test_what_the_experiments_found_is_told_as_it_came_out() -> None:
    """Every finding of the full runs, word by word, under the name that the inventory links to."""
    sections = re.split(
        r"^### ", (ROOT / "docs" / "experiments.md").read_text(), flags=re.MULTILINE
    )
    told = {section.partition("\n")[0]: section for section in sections[1:]}
    assert set(told) <= set(EXPERIMENTS)
    for name, section in told.items():
        content = json.loads((ROOT / "docs/experiments" / name / "results.json").read_text())
        assert content["quick"] is False
        for finding in content["findings"]:
            words = [finding["claim"], finding["measured"], f"**{finding['verdict']}**"]
            for text in words:
                cell = text.replace("\u00a0", " ").replace("|", r"\|")
                assert cell in section, f"{name}: {text}"
    for name in re.findall(r"\(experiments\.md#([\w-]+)\)", NORMALIZATION):
        assert name in EXPERIMENTS
