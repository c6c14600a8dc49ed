"""The doctor's view of PyTorch files: a run of ours with its graph, or any state dict without.

Read with `weights_only`, so that a file from elsewhere runs no code.
"""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training import pipeline
from training.checkpoint import FILE, Checkpoint, load_checkpoint
from training.doctor.finding import NotChecked
from training.doctor.onnx_networks import from_onnx
from training.doctor.patient import Patient, Training
from training.doctor.weights import StateDict, from_state_dicts
from training.errors import ToolkitError, UnusableInput
from training.graph import Array


def from_file(path: Path) -> Patient:
    """A patient that is a run's folder, a checkpoint of ours, or a file with state dicts."""
    if path.is_dir():
        return from_checkpoint(load_checkpoint(path), str(path / FILE))
    content = _load(path)
    if isinstance(content, dict) and {"format", "config", "population"} <= content.keys():
        return from_checkpoint(load_checkpoint(path), str(path))
    found = dict(_state_dicts(content, ""))
    if not found:
        raise UnusableInput(f"{path}: expected a state dict, found no tensors by name")
    return from_state_dicts(found, str(path))


def from_checkpoint(checkpoint: Checkpoint, name: str) -> Patient:
    """A run of ours: exported as it would be bundled; its state dict where that cannot be."""
    estimate: pipeline.Statistics = (
        "population" if "accuracy_population" in checkpoint.metrics else "moving-average"
    )
    facts = Training(checkpoint.config.batch_size)  # a last, short mini-batch is left out
    try:
        patient = from_onnx(pipeline.export_run(checkpoint, estimate), name)
    except (ToolkitError, NotChecked, RuntimeError) as error:
        patient = from_state_dicts({"": _arrays(checkpoint.model)}, name)
        patient = replace(patient, notes=(f"the run cannot be exported: {error}",))
    return replace(patient, training=facts, is_checkpoint=True)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UnusableInput(f"{path}: expected a readable file, found none") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["an empty file"])[0]
        raise UnusableInput(f"{path}: expected a PyTorch file of weights, got {reason}") from None


def _state_dicts(content: object, key: str) -> Iterator[tuple[str, StateDict]]:
    """Every dictionary of named tensors in a checkpoint, by where it is."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if tensors:
        yield key, _arrays(tensors)
    for inner, value in content.items():
        if isinstance(inner, str) and inner not in ("optimizer", "optimizer_state_dict"):
            yield from _state_dicts(value, f"{key}.{inner}" if key else inner)


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """Vectors and counters as NumPy has them: bfloat16 goes through float32."""
    small = {name: t.detach() for name, t in tensors.items() if t.ndim < 2 and not t.is_sparse}
    wide = {name: t.float() if t.is_floating_point() else t for name, t in small.items()}
    return {name: t.cpu().numpy() for name, t in wide.items()}
