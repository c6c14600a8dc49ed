"""Tells what a path is, and shows it to the doctor: an ONNX file, a bundle, a run, or weights.

PyTorch is loaded only for what needs it.
"""

from pathlib import Path

from service.manifest import MANIFEST
from training.doctor.bundles import from_bundle
from training.doctor.onnx_networks import from_onnx
from training.doctor.patient import Patient
from training.errors import UnusableInput
from training.onnx_files import read_onnx

PYTORCH_FILES = (".pt", ".pth", ".bin", ".ckpt")


def open_target(path: Path) -> Patient:
    """The patient at `path`; UnusableInput where it is nothing that the doctor knows."""
    if path.is_dir():
        if (path / MANIFEST).exists():
            return from_bundle(path)
        from training.doctor.checkpoints import from_file

        return from_file(path)
    if not path.exists():
        raise UnusableInput(f"{path}: expected a readable file or folder, found none")
    if path.suffix == ".safetensors":
        from training.doctor.weights import from_state_dicts, read_safetensors

        return from_state_dicts({"": read_safetensors(path)}, str(path))
    if path.suffix in PYTORCH_FILES:
        from training.doctor.checkpoints import from_file

        return from_file(path)
    return from_onnx(read_onnx(path), str(path))
