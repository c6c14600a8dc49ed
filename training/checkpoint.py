"""A checkpoint: everything a run needs to go on to the same numbers, in one file, written whole.

Read with `weights_only`, so that a checkpoint from elsewhere can hold tensors and plain values but
run no code.
"""

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import TrainingConfig, config_from_fields
from training.errors import UnusableInput
from training.files import staged

FORMAT = 1
FILE = "checkpoint.pt"

Statistics = dict[str, dict[str, Tensor]]


@dataclass(slots=True)
class Checkpoint:
    """The state of a run after `step` optimizer steps.

    `totals` are the sums over the epoch so far (loss, correct, images, seconds). After the last
    step, `population` has mean [C] and var [C] (unbiased) of every normalization layer, and
    `metrics` the figures of the finished network.
    """

    config: TrainingConfig
    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    totals: dict[str, float]
    history: list[dict[str, float]] = field(default_factory=list)
    population: Statistics = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes the checkpoint into `folder`, atomically."""
        content = {name: getattr(self, name) for name in self.__slots__}
        content |= {"format": FORMAT, "config": asdict(self.config)}
        with staged(folder / FILE) as file:
            torch.save(content, file)


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`, a file or the folder of a run; UnusableInput if it is none."""
    file = path / FILE if path.is_dir() else path
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UnusableInput(f"{file}: expected a checkpoint, found no file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = (str(error).splitlines() or ["an empty file"])[0]
        raise UnusableInput(f"{file}: expected a checkpoint, got {reason}") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UnusableInput(f"{file}: expected a checkpoint of format {FORMAT}")
    config = config_from_fields(content.pop("config", None), str(file))
    return Checkpoint(config=config, **content)
