"""The words of a bundle: what `manifest.json` and `layers.json` say, field by field.

The reader owns the format, so it is defined here; `training.bundle` writes it. Unknown fields,
other format versions and file names that leave the folder are refused while parsing.
"""

import re
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from service.tensors import TensorSpec

FORMAT_VERSION = 1
MODEL, PROBE, STATISTICS, LAYERS = "model.onnx", "probe.onnx", "normalization.npz", "layers.json"
FOLD_REPORT, SOURCE, MANIFEST = "fold.json", "source.onnx", "manifest.json"
# May be missing: bundles are older than the doctor, and not every input is of pictures.
DIAGNOSIS, SIGNATURES = "doctor.json", "signatures.npz"
REQUIRED = (MODEL, PROBE, STATISTICS, LAYERS, FOLD_REPORT)

# The names of models and of files: no separators, no leading dot, at most 64 characters.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = (
    "expected 1 to 64 letters, digits, dots, underscores or hyphens, beginning with a letter or "
    "digit, and not 'stats'"
)


def is_model_name(name: str) -> bool:
    """Whether `name` may name a model: 1 to 64 of A-Z a-z 0-9 . _ -, and not `stats`."""
    return name != "stats" and _PLAIN_NAME.fullmatch(name) is not None


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Frozen):
    """Digest (SHA-256, hexadecimal) and size in bytes of one file of the bundle."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Check(_Frozen):
    """One promise, checked: whether it held, the figure measured, and what the figure means."""

    passed: bool
    figure: float
    limit: float
    detail: str


class Checks(_Frozen):
    """The three promises of a bundle, checked when it was built."""

    frozen: Check
    batch_invariant: Check
    parity: Check


class Preprocessing(_Frozen):
    """From a picture to the network's input: resize, to [0, 1], subtract mean, divide by std.

    Without `shorter_side` the picture is resized to width × height, whatever its proportions. With
    it, the proportions are kept: the shorter side gets that length, the longer one is cut down to a
    whole pixel, and the middle of width × height is taken, as networks are evaluated on ImageNet.
    `mean` and `std` have one value per colour channel, on the scale 0 to 1.
    """

    width: Annotated[int, Field(gt=0, le=8192)]
    height: Annotated[int, Field(gt=0, le=8192)]
    colour: Literal["L", "RGB"]
    resize: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    shorter_side: Annotated[int, Field(gt=0, le=8192)] | None = None
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        channels = len(self.colour)
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(
                f"expected {channels} values of mean and std for colour {self.colour}; "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        return self

    @model_validator(mode="after")
    def _crop_lies_inside(self) -> Self:
        side = self.shorter_side
        if side is not None and side < max(self.width, self.height):
            raise ValueError(
                f"expected a shorter_side of at least {max(self.width, self.height)}, from which "
                f"{self.width} × {self.height} can be cut; got {side}"
            )
        return self


class InputBaseline(_Frozen):
    """Mean and standard deviation of the network's input over the reference images, by channel."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(ge=0)], ...]


class Baseline(_Frozen):
    """What drift is measured against: `images` images of `source`, or groups of like ones.

    `kind` is `analytic` where it was computed from the layers' scales and biases, without data. An
    image is an outlier where its distance is beyond `image_limit`; `image_rate` of the
    reference images are. `classes` counts their predicted classes.
    """

    kind: Literal["measured", "analytic"]
    images: Annotated[int, Field(gt=0)]
    source: str
    image_limit: Annotated[float, Field(gt=0)]
    image_rate: Annotated[float, Field(ge=0, le=1)]
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    input: InputBaseline | None = None


class LayerChange(_Frozen):
    """How far a layer's statistics have moved from the parent's: the rms over channels of Δμ/σ, and
    of Δ ln σ²."""

    name: str
    mean_shift: Annotated[float, Field(ge=0)]
    variance_shift: Annotated[float, Field(ge=0)]


class Comparison(_Frozen):
    """A version and its parent on the same images: the share of images to which both give the same
    class, and each one's accuracy; None where the network gives no classes, or labels are unknown.
    """

    images: Annotated[int, Field(gt=0)]
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy_before: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy_after: Annotated[float, Field(ge=0, le=1)] | None = None


class Recalibration(_Frozen):
    """How a version's statistics were re-estimated on other images than its parent's.

    `method` tells on which of the parent's networks: the unfolded one that it keeps (`source`), or
    the folded one with its layers put back (`folded`). `images` were estimated from and count for
    `weight` of the new statistics; the parent's count for the rest, as `prior` images. `held_out`
    others made the baseline and `new_domain`. `data_sha256` is the digest of the file that all came
    from. `forced` are the reasons not to do it that were overridden, and `not_checked` those that
    could not be looked for.
    """

    method: Literal["source", "folded"]
    images: Annotated[int, Field(gt=0)]
    held_out: Annotated[int, Field(ge=0)]
    prior: Annotated[float, Field(ge=0)]
    weight: Annotated[float, Field(gt=0, le=1)]
    data: str
    data_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    layers: tuple[LayerChange, ...]
    new_domain: Comparison
    source_domain: Comparison | None = None
    forced: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()


class Manifest(_Frozen):
    """`manifest.json`: what a bundle is, what it takes and gives, and the digest of every file.

    `labels` name the columns of the first output. `output_activation` says what the service is to
    do with that output to have probabilities: `softmax` for logits, `none` where it holds them.
    `forced` are the doctor's errors that were overridden when the bundle was built. `recalibration`
    is there where the version came of another one's.
    """

    format_version: Literal[1]
    name: str
    version: Annotated[int, Field(gt=0)]
    created: datetime
    producer: dict[str, str]
    parent_version: Annotated[int, Field(gt=0)] | None = None
    derivation: str
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    output_activation: Literal["softmax", "none"] = "none"
    metrics: dict[str, float | str] = {}
    checks: Checks
    forced: tuple[str, ...] = ()
    baseline: Baseline | None = None
    recalibration: Recalibration | None = None
    files: dict[str, FileEntry]

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not is_model_name(name):
            raise ValueError(f"{NAME_RULE}; got '{name}'")
        return name

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not _PLAIN_NAME.fullmatch(name):
                raise ValueError(f"expected plain file names, inside the bundle; got '{name}'")
        missing = [name for name in REQUIRED if name not in files]
        if missing:
            raise ValueError(f"expected the files {', '.join(REQUIRED)}; missing {missing}")
        return files

    @model_validator(mode="after")
    def _pictures_fit_the_input(self) -> Self:
        if self.preprocessing is None:
            return self
        pictures = self.preprocessing
        made = (1, len(pictures.colour), pictures.height, pictures.width)
        taken = self.inputs[0].shape
        fits = len(taken) == 4 and all(t in (-1, m) for t, m in zip(taken, made, strict=True))
        if len(self.inputs) != 1 or self.inputs[0].datatype != "FP32" or not fits:
            wanted = ", ".join(f"{i.name} {i.datatype} {list(i.shape)}" for i in self.inputs)
            raise ValueError(
                f"preprocessing gives FP32 {list(made)}, which must fit the only input; "
                f"the network takes {wanted}"
            )
        return self

    @model_validator(mode="after")
    def _labels_fit_the_output(self) -> Self:
        scores = self.outputs[0].shape
        if self.labels is not None and (
            len(scores) != 2 or scores[1] not in (-1, len(self.labels))
        ):
            raise ValueError(
                f"{len(self.labels)} labels need an output of shape [-1, {len(self.labels)}]; "
                f"the first one is {self.outputs[0].name} {list(scores)}"
            )
        return self


class ProbeOutputs(_Frozen):
    """Names of the outputs of `probe.onnx` that hold one layer's statistics, each [N, C]."""

    mean: str
    mean_square: str


class LayerBaseline(_Frozen):
    """A layer's numbers in the baseline, beside its vectors: effective degrees of freedom, the
    smallest effects that are called drift, what 99.9 % of the images' distances stay below, and for
    windows of n images by what the thresholds of mean and variance grow."""

    mean_degrees: Annotated[float, Field(gt=0)]
    var_degrees: Annotated[float, Field(gt=0)]
    mean_floor: Annotated[float, Field(gt=0)]
    var_floor: Annotated[float, Field(gt=0)]
    distance: Annotated[float, Field(ge=0)]
    calibration: tuple[tuple[Annotated[int, Field(gt=0)], float, float], ...] = ()


class Layer(_Frozen):
    """One normalization layer of the original network, and where it went.

    `momentum` is PyTorch's (the weight of the new value; None for the cumulative average) and
    `count` the number of batches that the moving averages have seen. `statistics` tells where the
    frozen mean and variance come from: `population` (Algorithm 2), `moving average`,
    `re-calibrated` (re-estimated on other images), or `model` (as the ONNX file had them).
    """

    name: str
    node: str
    operator: str
    channels: Annotated[int, Field(gt=0)]
    epsilon: float
    momentum: float | None = None
    count: int | None = None
    statistics: Literal["population", "moving average", "re-calibrated", "model"] = "model"
    folded_into: str | None = None
    rule: str | None = None
    refusal: str | None = None
    probe: ProbeOutputs | None = None
    baseline: LayerBaseline | None = None
    findings: tuple[str, ...] = ()
