"""The layers of a state dict, told by the names and shapes of its tensors; no module is needed.

A layer is whatever holds a running mean, variance or counter. ε and momentum are not in a state
dict. Nested dictionaries (`state_dict`, `model`, `ema`, …) are all looked at, each under its key
where there are several; a `module.` that data parallelism put in front is dropped.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from training.doctor.layer import GUESSED, Layer
from training.doctor.patient import Patient, as_float
from training.errors import UnusableInput
from training.graph import Array

# What the field is called: PyTorch's names, then those of Keras and Flax.
FIELDS = {
    "running_mean": "mean",
    "moving_mean": "mean",
    "running_var": "var",
    "moving_variance": "var",
    "moving_var": "var",
    "num_batches_tracked": "count",
    "weight": "scale",
    "gamma": "scale",
    "bias": "bias",
    "beta": "bias",
}
_STATISTICS = {"mean", "var", "count"}
_CALLED = re.compile(r"(?:^|[._])(?:bn|batch_?norm)\d*$", re.IGNORECASE)

StateDict = Mapping[str, Array]


def from_state_dicts(found: Mapping[str, StateDict], name: str) -> Patient:
    """A patient that is the state dicts of a file, by the key that each was found under."""
    several = len(found) > 1
    layers = [
        layer
        for key, tensors in found.items()
        for layer in layers_of(tensors, f"{key}/" if several and key else "")
    ]
    keys = ", ".join(key or "top level" for key in found)
    notes = (f"the file holds {len(found)} state dicts ({keys}); all were examined",)
    return Patient(name, tuple(layers), is_checkpoint=True, notes=notes if several else ())


def layers_of(tensors: StateDict, prefix: str = "") -> Iterator[Layer]:
    """The normalization layers in the order of the dict."""
    groups: dict[str, dict[str, Array]] = {}
    for key, tensor in tensors.items():
        path, _, last = key.rpartition(".")
        if last in FIELDS:
            groups.setdefault(path, {})[FIELDS[last]] = tensor
    for path, held in groups.items():
        untracked = _untracked(path, held)
        if not _STATISTICS & held.keys() and untracked is None:
            continue
        yield _layer(prefix + path.removeprefix("module."), held, untracked)


def _untracked(path: str, held: Mapping[str, Array]) -> str | None:
    """Why there are no statistics, where that can be told."""
    missing = [name for name in ("mean", "var") if name not in held]
    if not missing:
        return None
    if _STATISTICS & held.keys():
        return f"no running {' and '.join(missing)} beside the rest"
    vectors = all(held[n].ndim == 1 for n in ("scale", "bias") if n in held)
    return GUESSED if _CALLED.search(path) and vectors and "scale" in held else None


def _layer(name: str, held: Mapping[str, Array], untracked: str | None) -> Layer:
    arrays = {key: as_float(held[key]) for key in ("scale", "bias", "mean", "var") if key in held}
    size = max((array.size for array in arrays.values()), default=0)
    scale, bias, mean, var = (
        array if (array := arrays.get(key)) is not None and array.size == size else None
        for key in ("scale", "bias", "mean", "var")
    )
    count = held.get("count")
    counted = None if count is None or count.size != 1 else int(count.reshape(-1)[0])
    return Layer(name, scale, bias, mean, var, count=counted, untracked=untracked)


def read_safetensors(path: Path) -> dict[str, Array]:
    """The small tensors of a .safetensors file: a layer's are vectors and counters."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Array] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118 (it is no mapping)
                if key.rpartition(".")[2] in FIELDS and len(file.get_slice(key).get_shape()) < 2:
                    tensors[key] = np.asarray(file.get_tensor(key))
    except (SafetensorError, OSError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UnusableInput(f"{path}: expected a .safetensors file, got {reason}") from None
    return tensors
