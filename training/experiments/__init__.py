"""The experiments of the source documents, by name.

Each is a module of its name with an `EXPERIMENT`; they do not know each other.
"""

from importlib import import_module

from training.errors import UnusableInput
from training.experiments.experiment import Experiment

NAMES = (
    "zjk",
    "mlp",
    "learning-rate",
    "saturation",
    "init-scale",
    "input-scale",
    "bias",
    "batch-size",
    "estimators",
    "landscape",
    "conditioning",
    "axes",
)


def experiment(name: str) -> Experiment:
    """The experiment of that name; UnusableInput where there is none."""
    if name not in NAMES:
        raise UnusableInput(f"expected an experiment of {', '.join(NAMES)}, or all; got {name}")
    found: Experiment = import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT
    return found
