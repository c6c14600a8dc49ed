"""What a training run is: a frozen configuration, the presets, and TOML files of its fields."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from training.errors import UnusableInput
from training.files import read_file

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


# What a network is normalized by, as `training.normalization.NORMS` has them.
Norm = Literal[
    "torch-batch",
    "own-batch",
    "layer",
    "group",
    "instance",
    "l1-batch",
    "generalized-batch",
    "renorm",
    "ghost",
    "whitened",
    "weight",
    "none",
]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of each training picture; zeros mean none. Angles in degrees, sizes in pixels.

    `zoom` 0.1 scales by 0.9 to 1.1; `erase` cuts out a square of that side (DeVries & Taylor 2017).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rotate: NonNegative = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    translate: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    erase: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One run: stochastic gradient descent with Nesterov momentum on a data set's training images.

    `schedule` is the one-cycle policy (Smith & Topin 2017) with `learning_rate` as its peak, or a
    constant rate. `population_batches` mini-batches of `population_batch_size` training images,
    augmented alike, give the population statistics (Ioffe & Szegedy 2015, Algorithm 2). `norm` is
    what stands in the place of the network's batch normalization.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    network: str
    dataset: str
    epochs: Positive
    norm: Norm = "torch-batch"
    batch_size: Annotated[int, Field(gt=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 5e-4
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    population_batches: Positive = 60
    population_batch_size: Annotated[int, Field(gt=1)] = 256
    seed: Annotated[int, Field(ge=0)] = 0
    train_images: Annotated[int, Field(ge=0)] = 0  # 0: all of them

    def replace(self, **changes: object) -> "TrainingConfig":
        """A copy with some fields changed; None leaves a field as it is."""
        given = {key: value for key, value in changes.items() if value is not None}
        return _validated(dataclasses.asdict(self) | given, self.name)


PRESETS = {
    config.name: config
    for config in (
        TrainingConfig(
            name="mnist-cnn",
            network="mnist-cnn",
            dataset="mnist",
            epochs=12,
            augmentation=Augmentation(rotate=10, zoom=0.1, translate=2),
        ),
        TrainingConfig(
            name="mnist-mlp",
            network="mnist-mlp",
            dataset="mnist",
            epochs=20,
            batch_size=60,
            learning_rate=0.5,
            momentum=0.0,
            weight_decay=0.0,
            schedule="constant",
        ),
        TrainingConfig(
            name="fashion-cnn",
            network="fashion-cnn",
            dataset="fashion-mnist",
            epochs=24,
            label_smoothing=0.05,
            augmentation=Augmentation(translate=2, flip=True, erase=8),
        ),
    )
}


def load_config(preset_or_file: str) -> TrainingConfig:
    """The preset of that name, or the TOML file at that path; UnusableInput where there is none."""
    if preset_or_file in PRESETS:
        return PRESETS[preset_or_file]
    path = Path(preset_or_file)
    if path.suffix != ".toml":
        raise UnusableInput(
            f"expected a preset of {', '.join(PRESETS)}, or a .toml file; got {preset_or_file}"
        )
    try:
        fields = tomllib.loads(read_file(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path}: expected TOML, got {error}") from None
    return _validated({"name": path.stem} | fields, str(path))


def config_from_fields(fields: object, place: str) -> TrainingConfig:
    """The configuration in a checkpoint, validated like any other."""
    return _validated(fields, place)


def _validated(fields: object, place: str) -> TrainingConfig:
    try:
        return TypeAdapter(TrainingConfig).validate_python(fields)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "configuration"
        raise UnusableInput(f"{place}: {where}: {fault['msg']}, got {fault['input']!r}") from None
