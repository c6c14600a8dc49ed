"""Factories of the user: found, called, and what is said where that fails."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import UnusableInput
from training.export.sources import build_from, is_factory, parse_arguments

MODULE = """
from torch import nn

NUMBER = 3
NET = nn.Linear(2, 2)

class Zoo:
    @staticmethod
    def net(width: int = 4) -> nn.Module:
        return nn.Linear(width, 2)

def parallel():
    return nn.DataParallel(nn.Linear(2, 2))

def words():
    return "a network"

def fails():
    raise OSError("no disk\\nand more")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    name = f"my_nets_{tmp_path.name}".replace("-", "_").replace("[", "_").replace("]", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("import nothing_of_that_name")
    monkeypatch.chdir(tmp_path)
    return name


def test_factories_are_found_and_called(module: str) -> None:
    path = list(sys.path)
    made = build_from(f"{module}:Zoo.net", parse_arguments('{"width": 7}'))
    assert isinstance(made, nn.Linear)
    assert made.in_features == 7
    assert isinstance(build_from(f"{module}:NET", {}), nn.Linear)
    assert isinstance(build_from(f"{module}:parallel", {}), nn.Linear)
    assert sys.path == path


def test_a_compiled_module_is_unwrapped(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build_from(f"{module}:NET", {})
    inner = nn.Linear(2, 2)
    monkeypatch.setattr(sys.modules[module], "NET", torch.compile(inner, backend="eager"))
    assert build_from(f"{module}:NET", {}) is inner


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("{}:Zoo.missing", {}, "expected 'missing' in .*, found none"),
        ("{}:NUMBER", {}, "expected something to call, got int"),
        ("{}:words", {}, r"expected a torch.nn.Module, got str"),
        ("{}:Zoo.net", {"depth": 1}, r"calling it with {\"depth\": 1} gave TypeError: .*depth"),
        ("{}:fails", {}, "gave OSError: no disk$"),
        ("{}_none:net", {}, "expected a module '.*', got ModuleNotFoundError"),
        ("{}_broken:net", {}, "got ModuleNotFoundError: .*nothing_of_that_name"),
    ],
)
def test_what_gives_no_network_is_said(
    module: str, name: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UnusableInput, match=message):
        build_from(name.format(module), arguments)


@pytest.mark.parametrize("text", ["[1]", "3", "{", "width=3", '"net"'])
def test_arguments_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(UnusableInput, match="--kwargs: expected a JSON object"):
        parse_arguments(text)


def test_factories_and_files_are_told_apart() -> None:
    assert is_factory("nets:Net")
    assert is_factory("a.b.c:d.e")
    for other in ("runs/mnist-cnn", "resnet-18", "a/b:c", "C:", ":net", "a:b-c", "checkpoint.pt"):
        assert not is_factory(other)
