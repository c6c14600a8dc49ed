"""The objects of the wire that operators meet, for the documentation (see also `schemas`)."""

from typing import Literal

from pydantic import ConfigDict, Field

from service.api.wire import WireModel


class LogSettingsRequest(WireModel):
    """What is to be logged; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_verbose_level: int = Field(0, ge=0, lt=2**31, description="Above 0: also for debugging.")
    log_format: Literal["default", "ISO8601"] = "default"


class LogSettings(WireModel):
    """What is logged; the file is empty, because the log goes to standard error."""

    log_file: Literal[""]
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: int = Field(examples=[0])
    log_format: Literal["default", "ISO8601"]


class Duration(WireModel):
    """How often, and how many nanoseconds altogether."""

    count: int = Field(examples=[3])
    ns: int = Field(examples=[512000])


class BatchStatistics(WireModel):
    """The runs of one batch size."""

    batch_size: int = Field(examples=[8])
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class InferenceStatistics(WireModel):
    """Requests, by what became of them and by where their time went; there is no cache."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class LatencyHistogram(WireModel):
    """Answered requests by how long each took: `counts` of those at or below each bound and above
    the one before, with one more for those above all. Percentiles follow from it, also those of the
    time between two looks."""

    bounds_ns: list[int] = Field(examples=[[100000, 125000]])
    counts: list[int] = Field(examples=[[3, 1, 0]])


class ModelStatistics(WireModel):
    """One version: rows answered, runs of the network, milliseconds since 1970 of the last."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["1"])
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    response_stats: dict[str, InferenceStatistics]
    batch_stats: list[BatchStatistics]
    memory_usage: list[dict[str, str | int]]
    latency_histogram: LatencyHistogram


class Statistics(WireModel):
    """One entry a version that can answer."""

    model_stats: list[ModelStatistics]


class ConfigTensor(WireModel):
    """An input or output; without the batch where `max_batch_size` is above 0."""

    name: str = Field(examples=["image"])
    data_type: str = Field(examples=["TYPE_FP32"])
    dims: list[int] = Field(examples=[[1, 28, 28]])


class DynamicBatching(WireModel):
    """Requests that wait are run together."""


class ResponseCache(WireModel):
    """There is none."""

    enable: Literal[False]


class TransactionPolicy(WireModel):
    """One answer a request."""

    decoupled: Literal[False]


class VersionPolicy(WireModel):
    """Which versions of a model are served."""

    specific: dict[Literal["versions"], list[int]] = Field(examples=[{"versions": [1]}])


class ConfigParameter(WireModel):
    """A parameter that Triton leaves to the model."""

    string_value: str


class ModelConfig(WireModel):
    """A model in the words of Triton's model configuration."""

    name: str = Field(examples=["digits"])
    platform: str = Field(examples=["onnxruntime_onnx"])
    backend: str = Field(examples=["onnxruntime"])
    version_policy: VersionPolicy
    max_batch_size: int = Field(examples=[64])
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    dynamic_batching: DynamicBatching | None = None
    response_cache: ResponseCache
    model_transaction_policy: TransactionPolicy
    parameters: dict[str, ConfigParameter] | None = None


class RepositoryIndexRequest(WireModel):
    """An empty body does the same as `{}`."""

    ready: bool = Field(False, description="Only the versions that can answer.")


class RepositoryEntry(WireModel):
    """One version that was found; `reason` says why it is unavailable, or why no newer one is."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["1"])
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(examples=[""])


class LoadRequest(WireModel):
    """Loads from the folder of models only; an empty body does the same as `{}`."""

    parameters: dict[str, str | int | float | bool] | None = Field(
        None, description="None is known: bundles and configurations are not taken from requests."
    )


class UnloadParameters(WireModel):
    """What may be said of an unload."""

    unload_dependents: bool = Field(False, description="Without effect: no model has dependents.")


class UnloadRequest(WireModel):
    """An empty body does the same as `{}`."""

    parameters: UnloadParameters | None = None


class Loaded(WireModel):
    """Every version of the model is loaded."""

    name: str = Field(examples=["digits"])
    load: Literal[True]


class Unloaded(WireModel):
    """No version of the model answers any more."""

    name: str = Field(examples=["digits"])
    unload: Literal[True]


class RecordingReset(WireModel):
    """A new sample has begun."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["1"])
