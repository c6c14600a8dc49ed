"""Weights that the user names: a state dict found in a file, and held against the network.

Files are read with `weights_only` or as safetensors, so that they can hold tensors and plain
values but run no code. A file may wrap its state dict (`state_dict`, `model`, `ema`, …) and its
names may have a prefix (`module.`, `_orig_mod.`, `model.`, …): what fits the network best is taken,
and where several fit alike, the user chooses.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from training.errors import UnusableInput
from training.export.layers import first_line
from training.population import BatchNorm

_DEPTH = 3  # of wrappers in one another
_COUNT = ".num_batches_tracked"
_COMPILED = "_orig_mod."
_SHOWN = 3
# In the order of the network; some may be missing from the file.
_ANCHORS = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A state dict in a file: where it is (its keys and prefix, '.' between), and its tensors."""

    key: str
    tensors: Mapping[str, Tensor]


def load_weights(network: nn.Module, path: Path, key: str | None = None) -> None:
    """Loads the weights in `path` into the network; UnusableInput says what does not fit."""
    wanted = _wanted(network)
    candidates = list(_candidates(_read(path), wanted))
    chosen = _choose(path, candidates, wanted, key)
    _refuse_misfits(path, chosen, wanted)
    tensors = {name: tensor for name, tensor in chosen.tensors.items() if name in wanted}
    network.load_state_dict(tensors, strict=False)
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm) and f"{name}{_COUNT}".lstrip(".") not in tensors:
            module.num_batches_tracked = None  # the file does not say


def _wanted(network: nn.Module) -> dict[str, tuple[int, ...] | None]:
    """Shapes by name; None for what takes its shape from the weights."""
    return {
        name: None if is_lazy(value) else tuple(value.shape)
        for name, value in network.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }


def _read(path: Path) -> object:
    if not path.is_file():
        raise UnusableInput(f"{path}: expected a file of weights, found none")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on the pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise UnusableInput(
            f"{path}: expected tensors and plain values only (weights_only): {_global(error)}"
        ) from None
    except Exception as error:  # the readers raise whatever the damage led them to
        raise UnusableInput(f"{path}: expected a file of weights: {first_line(error)}") from None


def _global(error: Exception) -> str:
    """What the pickle wanted to call, where PyTorch says so; else its first words."""
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.strip().removeprefix("WeightsUnpickler error: ")[:200]
    return first_line(error, 200)


def _candidates(
    content: object, wanted: Mapping[str, object], path: str = "", depth: int = _DEPTH
) -> Iterator[Candidate]:
    """Every mapping of names to tensors, under every prefix with which it may fit."""
    if not isinstance(content, Mapping):
        return
    tensors = {
        name.replace(_COMPILED, ""): value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    for prefix in _prefixes(tensors, wanted):
        inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        yield Candidate(".".join(filter(None, (path, prefix.rstrip(".")))), inside)
    if depth:
        for name, value in content.items():
            if isinstance(name, str):
                inner = ".".join(filter(None, (path, name)))
                yield from _candidates(value, wanted, inner, depth - 1)


def _prefixes(tensors: Mapping[str, Tensor], wanted: Mapping[str, object]) -> list[str]:
    """What stands before names of the network; nothing, where no name is known."""
    anchors = [name for name in wanted if not name.endswith(_COUNT)][:_ANCHORS]
    found = {
        name.removesuffix(anchor)
        for anchor in anchors
        for name in tensors
        if name == anchor or name.endswith(f".{anchor}")
    }
    return sorted(found) or ([""] if tensors else [])


def _choose(
    path: Path, candidates: list[Candidate], wanted: Mapping[str, object], key: str | None
) -> Candidate:
    names = ", ".join(f"'{c.key}' ({len(c.tensors)} tensors)" for c in candidates)
    if key is not None:
        chosen = [c for c in candidates if c.key == key]
        chosen = chosen or [c for c in candidates if c.key.startswith(f"{key}.")]
        if not chosen:
            raise UnusableInput(
                f"{path}: expected weights under --weights-key {key}, found {names or 'none'}"
            )
        candidates = chosen
    if not candidates:
        raise UnusableInput(f"{path}: expected a state dict, found no tensors by name")
    fits = [len(wanted.keys() & candidate.tensors.keys()) for candidate in candidates]
    best = [c for c, fit in zip(candidates, fits, strict=True) if fit == max(fits)]
    if len(best) > 1 and max(fits):
        names = ", ".join(f"'{c.key}' ({len(c.tensors)} tensors)" for c in best)
        raise UnusableInput(
            f"{path}: expected one set of weights, found {len(best)}: {names}; "
            "choose with --weights-key"
        )
    return best[0]


def _refuse_misfits(
    path: Path, chosen: Candidate, wanted: Mapping[str, tuple[int, ...] | None]
) -> None:
    """Counts of batches may be missing or too many; whole-number averages belong to EMA."""
    given = chosen.tensors
    free = (_COUNT, "n_averaged")
    missing = [name for name in wanted if name not in given and not name.endswith(free)]
    extra = [name for name in given if name not in wanted and not name.endswith(free)]
    shapes = [
        f"{name} (expected {list(shape)}, got {list(given[name].shape)})"
        for name, shape in wanted.items()
        if shape is not None and name in given and shape != tuple(given[name].shape)
    ]
    faults = [
        f"{len(names)} {what} ({_first(names)})"
        for names, what in ((missing, "missing"), (extra, "unexpected"), (shapes, "mis-shaped"))
        if names
    ]
    if faults:
        where = f" under '{chosen.key}'" if chosen.key else ""
        raise UnusableInput(
            f"{path}: expected the network's {len(wanted)} tensors{where}: {'; '.join(faults)}"
        )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
