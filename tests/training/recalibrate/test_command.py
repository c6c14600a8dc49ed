"""`foldserve recalibrate` as a user meets it: what it reads, refuses and tells."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.bundle import read_manifest
from tests.training.recalibrate.digits import SHIPPED, Digits, data_of
from training.cli import main
from training.recalibrate.data import read_data


def command(*arguments: str | Path) -> int:
    """The exit status of `foldserve recalibrate`."""
    with pytest.raises(SystemExit) as ended:
        main(["recalibrate", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_bytes_are_normalized_as_the_bundle_says(bright_file: Path, digits: Digits) -> None:
    got = read_data(bright_file, read_manifest(SHIPPED))
    expected = data_of(digits.bright(slice(200))).inputs["image"]
    np.testing.assert_allclose(got.inputs["image"], expected, atol=1e-6)
    assert got.labels is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected either --data or --from"),
        (["--data", "{data}", "--from", "http://127.0.0.1:1"], "expected either --data or --from"),
        (["--data", "missing.npz"], "missing.npz: expected a readable .npz file"),
        (["--data", "{data}", "--version", "1"], "expected a free version, found a bundle"),
        (["--from", "127.0.0.1:1"], "expected the address of a service"),
        (["--from", "http://127.0.0.1:1"], "expected a running service, got"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    parent: Path,
    bright_file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    assert command(parent, *(a.replace("{data}", str(bright_file)) for a in arguments)) == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in parent.parent.iterdir()] == ["1"]


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--data", "x.npz") == 2
    assert "expected a bundle" in capsys.readouterr().err


def test_the_answer_no_is_status_1(
    parent: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "few.npz", images=digits.bright(slice(40)))
    assert command(parent, "--data", tmp_path / "few.npz") == 1
    said = capsys.readouterr().err
    assert said == (
        "foldserve: expected at least 64 images, got 40; --force does it all the same\n"
    )


def test_what_the_command_tells(
    parent: Path, bright_file: Path, bright_version: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a table for people, and for scripts what is in the manifest: the same version again."""
    assert command(parent, "--data", bright_file) == 0
    said = capsys.readouterr().out
    for words in ("features.18", "86.2% of 100 images of bright.npz, the rest of version 1"):
        assert words in said
    assert "accuracy " in said
    assert said.rstrip().endswith(f"bundle {parent.with_name('2')}")
    assert command(parent, "--data", bright_file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bundle"] == str(parent.with_name("3"))
    recorded = read_manifest(bright_version).recalibration
    assert recorded is not None
    without = recorded.model_dump(mode="json") | {"source_domain": None}
    assert told["recalibration"] == without
