"""The doctor: what is wrong with a network's normalization layers, and what to do about it.

    diagnosis = examine(from_onnx(model))

`rules/` has one rule a file; `patient` is what they are shown; `examination` asks them. ONNX files
and bundles are read without PyTorch; `targets` tells files apart, and only it, `checkpoints` and
`modules` know PyTorch. See docs/normalization-rules.md.
"""

from training.doctor.diagnosis import Diagnosis
from training.doctor.examination import examine
from training.doctor.finding import Finding, Severity
from training.doctor.onnx_networks import from_onnx
from training.doctor.patient import Patient
from training.doctor.rules import RULES

__all__ = ["RULES", "Diagnosis", "Finding", "Patient", "Severity", "examine", "from_onnx"]
