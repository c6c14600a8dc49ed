"""What the drift routes answer, for the documentation."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from service.api.wire import WireModel


class _Schema(WireModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Channel(_Schema):
    """One channel, live and in the baseline."""

    channel: int
    contribution: float = Field(description="Its part of d² + r², before the correction.")
    mean: float
    std: float
    baseline_mean: float
    baseline_std: float


class DriftLayer(_Schema):
    """One layer's scores."""

    name: str
    mean_shift: float = Field(description="Effect size d, in standard deviations.")
    variance_shift: float = Field(description="Effect size r, in units of ln σ².")
    mean_significance: float = Field(description="In units of the threshold.")
    variance_significance: float = Field(description="In units of the threshold.")
    threshold: float
    mean_floor: float = Field(description="The smallest d that is called drift.")
    variance_floor: float = Field(description="The smallest r that is called drift.")
    alarm: bool
    top_channels: list[Channel]


class Outliers(_Schema):
    """Images unlike any of the baseline."""

    count: int
    share: float | None
    baseline_share: float
    alarm: bool


class Classes(_Schema):
    """Predicted classes, as counts."""

    live: list[int]
    baseline: list[int]


class KnownChange(_Schema):
    """A change of pictures whose signature the bundle has."""

    name: Literal[
        "brighter",
        "darker",
        "less contrast",
        "more contrast",
        "blurred",
        "noisy",
        "inverted",
        "swapped",
    ]
    amount: float = Field(description="0 for the reference, 1 for the change as it was measured.")
    significance: float = Field(description="In units of the threshold.")
    threshold: float
    floor: float = Field(description="The smallest amount that is called drift.")
    explained: float = Field(description="The part of the layers' movement that it explains.")
    alarm: bool


class DriftBaseline(_Schema):
    """What the traffic is compared with."""

    kind: Literal["measured", "analytic"]
    images: int


class Drift(_Schema):
    """Live traffic against the baseline."""

    model_name: str
    model_version: str
    verdict: Literal["insufficient", "ok", "watch", "drift"]
    diagnosis: str
    likely_cause: str | None = Field(
        description="A mistake or a known change that explains what is seen, if one does."
    )
    n: int = Field(description="Images in the window.")
    n_needed: int = Field(description="Images that a verdict needs.")
    dropped: int = Field(description="Sampled images for which there was no time.")
    nonfinite: int = Field(description="Images with a NaN or an infinity in some layer.")
    first_nonfinite: str | None = Field(description="The first layer that was not finite.")
    window_s: float = Field(description="Seconds since the window began.")
    outliers: Outliers
    classes: Classes | None
    changes: list[KnownChange] = Field(
        description="Empty where the bundle has no signatures, or too few images came."
    )
    baseline: DriftBaseline
    layers: list[DriftLayer]


class DriftReset(_Schema):
    """What was reset."""

    model_name: str
    model_version: str


class Channels(_Schema):
    """One value a channel; None where there are too few images."""

    mean: list[float | None] | None
    std: list[float | None] | None
    contribution: list[float] | None = Field(description="Parts of d² + r², uncorrected.")
    baseline_mean: list[float]
    baseline_std: list[float]
    used: list[bool] = Field(description="Whether the channel takes part in the scores.")


class DriftOfLayer(_Schema):
    """One layer, with all its channels."""

    model_name: str
    model_version: str
    name: str
    n: int = Field(description="Images in the window.")
    n_needed: int
    window_s: float
    scores: DriftLayer | None
    channels: Channels


class HistoryLayer(_Schema):
    """A layer, and the smallest effects that are called drift."""

    name: str
    mean_floor: float
    variance_floor: float


class HistoryWindow(_Schema):
    """One window, judged by itself; lists in the order of the layers."""

    started: float = Field(description="Seconds since 1970.")
    n: int
    verdict: Literal["insufficient", "ok", "watch", "drift"]
    outliers: int
    nonfinite: int
    mean_shift: list[float]
    variance_shift: list[float]
    alarm: list[bool]


class DriftHistory(_Schema):
    """The windows that are kept, the oldest first."""

    model_name: str
    model_version: str
    step_s: float = Field(description="Length of a window in seconds.")
    steps: int = Field(description="How many windows are kept.")
    n_needed: int
    layers: list[HistoryLayer]
    windows: list[HistoryWindow]


class InspectedChannel(_Schema):
    """One channel on this input."""

    channel: int
    standard_score: float | None = Field(description="(m - μ₀)/√S, S between images.")
    mean: float | None
    std: float | None
    baseline_mean: float
    baseline_std: float


class InspectedLayer(_Schema):
    """One layer on this input."""

    name: str
    mean_distance: float | None = Field(
        description="Squared standardized Euclidean distance of the channels' means, by channel."
    )
    variance_distance: float | None = Field(description="The same of the variances' influence.")
    limit: float | None = Field(description="99.9 % of the baseline's images stay below.")
    beyond: bool | None = Field(description="Whether `mean_distance` is beyond `limit`.")
    top_channels: list[InspectedChannel]


class Inspection(_Schema):
    """What one input does to every layer."""

    model_name: str
    model_version: str
    predictions: list[Any] = Field(description="As /predict answers.")
    outlier: bool = Field(description="Unlike the images of the baseline.")
    unlikeness: float | None = Field(description="The largest distance as a share of its limit.")
    unlikeness_limit: float
    first_nonfinite: str | None = Field(description="The first layer that is not finite.")
    baseline: DriftBaseline
    layers: list[InspectedLayer]


class BaselineArrays(_Schema):
    """What drift of the layer is measured against; see docs/operations.md."""

    mean: list[float | None] = Field(examples=[[0.01, -0.27]])
    var: list[float | None] = Field(examples=[[0.9, 1.1]])
    mean_spread: list[float | None] = Field(description="Variance of an image's own mean.")
    var_spread: list[float | None] = Field(description="Variance of its influence on `var`.")
    mean_degrees: float = Field(description="Effective degrees of freedom of the channels.")
    var_degrees: float
    mean_floor: float = Field(description="The smallest shift that is called drift.")
    var_floor: float
    distance: float = Field(description="What 99.9 % of the images' distances stay below.")
