"""`package.module:factory`: a network that the user's own code makes.

Found as Python finds modules, and in the current folder; called with the JSON of `--kwargs`.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from training.errors import UnusableInput
from training.export.layers import first_line


def is_factory(source: str) -> bool:
    """Whether the words name a factory rather than a file."""
    module, colon, name = source.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def parse_arguments(text: str | None) -> dict[str, object]:
    """The JSON object of `--kwargs`; UnusableInput for anything else."""
    try:
        found = json.loads(text) if text is not None else {}
    except json.JSONDecodeError as error:
        raise UnusableInput(f"--kwargs: expected a JSON object, got {error}") from None
    if not isinstance(found, dict):
        raise UnusableInput(f"--kwargs: expected a JSON object, got {text}")
    return found


def build_from(source: str, arguments: dict[str, object]) -> nn.Module:
    """The module that the factory makes; UnusableInput says why there is none."""
    module, _, name = source.partition(":")
    with _current_folder_first():
        factory = _find(module, name, source)
        if isinstance(factory, nn.Module):
            return _unwrapped(factory)
        if not callable(factory):
            raise UnusableInput(
                f"{source}: expected something to call, got {type(factory).__name__}"
            )
        try:
            made = factory(**arguments)
        except Exception as error:  # whatever the user's code raises
            raise UnusableInput(
                f"{source}: calling it with {json.dumps(arguments)} gave "
                f"{type(error).__name__}: {first_line(error)}"
            ) from None
    if not isinstance(made, nn.Module):
        raise UnusableInput(f"{source}: expected a torch.nn.Module, got {type(made).__name__}")
    return _unwrapped(made)


def _find(module: str, name: str, source: str) -> object:
    try:
        found: object = importlib.import_module(module)
    except Exception as error:  # whatever the user's code raises
        raise UnusableInput(
            f"{source}: expected a module '{module}', got {type(error).__name__}: "
            f"{first_line(error)}"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise UnusableInput(f"{source}: expected '{part}' in {module}, found none")
        found = getattr(found, part)
    return found


def _unwrapped(network: nn.Module) -> nn.Module:
    """Without what torch.compile and data parallelism put around a module."""
    wrappers = nn.DataParallel, nn.parallel.DistributedDataParallel
    compiled = getattr(network, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return _unwrapped(compiled)
    return _unwrapped(network.module) if isinstance(network, wrappers) else network


@contextmanager
def _current_folder_first() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
