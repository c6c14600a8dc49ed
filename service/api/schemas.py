"""The objects of the wire, for the documentation: what is sent and what comes back.

Hot routes read and write bytes themselves; these models describe them, and examples show them.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.api.drift_schemas import BaselineArrays
from service.api.wire import WireModel

Parameters = dict[str, str | int | float | bool]


class Error(WireModel):
    """Every error: one sentence with what was expected, what came, and where."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"error": "input 'image': expected datatype FP32, got 'FP64'"}
        }
    )
    error: str


class ServerMetadata(WireModel):
    """The server and the protocol extensions that it implements."""

    name: str = Field(examples=["foldserve"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data"]])


class Live(WireModel):
    """The process answers."""

    live: Literal[True]


class ServerReady(WireModel):
    """Every model that is present can answer."""

    ready: Literal[True]
    live: Literal[True]


class Models(WireModel):
    """The models that can answer."""

    models: list[str] = Field(examples=[["digits"]])


class ModelReady(WireModel):
    """The model can answer."""

    name: str = Field(examples=["digits"])
    ready: Literal[True]


class TensorMetadata(WireModel):
    """One tensor of a model; -1 is a free dimension, and the first one is the batch."""

    name: str = Field(examples=["image"])
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[-1, 1, 28, 28]])


class ModelMetadata(WireModel):
    """A model, its ready versions (or the one asked for), its inputs and outputs."""

    name: str = Field(examples=["digits"])
    versions: list[str] = Field(examples=[["1"]])
    platform: str = Field(examples=["onnxruntime_onnx"])
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RequestInput(WireModel):
    """One input: `data`, flat in row-major order or nested, or the parameter binary_data_size."""

    name: str = Field(examples=["x"])
    shape: list[int] = Field(examples=[[1, 3]])
    datatype: str = Field(examples=["FP32"])
    parameters: Parameters | None = None
    data: list[Any] | None = Field(None, examples=[[0.5, -1.0, 2.0]])


class RequestOutput(WireModel):
    """One output that is wanted; the parameter binary_data chooses its form."""

    name: str = Field(examples=["scores"])
    parameters: Parameters | None = None


class InferRequest(WireModel):
    """An inference request; without `outputs`, all are answered."""

    id: str | None = None
    parameters: Parameters | None = None
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = None


class ResponseOutput(WireModel):
    """One output: `data` flat in row-major order, or the parameter binary_data_size."""

    name: str = Field(examples=["scores"])
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[1, 2]])
    parameters: Parameters | None = None
    data: list[float | int | bool | None] | None = Field(None, examples=[[1.5, -0.5]])


class InferResponse(WireModel):
    """An answer. The parameter nonfinite_count tells of NaN and infinities, null in `data`;
    nonfinite_layer of the first layer, in network order, in which they were."""

    id: str | None = None
    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["1"])
    parameters: Parameters | None = None
    outputs: list[ResponseOutput]


class PredictRequest(WireModel):
    """Rows for the network as it is, without preprocessing: one nested list a row.

    For several inputs each instance is an object, from the input's name to its list. A picture is
    an object {"b64": "<base64 of the file>"}, and goes through the bundle's preprocessing.
    """

    instances: list[Any] = Field(min_length=1, examples=[[[0.5, -1.0, 2.0], [0.0, 1.0, 0.0]]])
    top_k: int | None = Field(None, ge=1, le=1000, description="How many classes to answer.")


class LabelledPrediction(WireModel):
    """The best class of one row; all null where the network gave NaN or an infinity."""

    label: str | None = Field(examples=["seven"])
    index: int | None = Field(examples=[7])
    probability: float | None = Field(examples=[0.98])
    error: str | None = Field(None, description="Only where the output is not finite.")


Prediction = (
    LabelledPrediction
    | list[LabelledPrediction]
    | list[Any]
    | dict[str, Any]
    | float
    | int
    | bool
    | str
    | None
)


class PredictResponse(WireModel):
    """One prediction a row: labelled, or else the output's list, or lists by output name. The
    parameters are there where values are not finite, as in the answer to an inference."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["1"])
    parameters: Parameters = Field(default={})
    predictions: list[
        LabelledPrediction
        | list[LabelledPrediction]
        | list[Any]
        | dict[str, Any]
        | float
        | int
        | bool
        | None
    ]


class Quantiles(WireModel):
    """Quantiles over the channels, by linear interpolation."""

    q05: Annotated[float | None, Field(alias="0.05")]
    q25: Annotated[float | None, Field(alias="0.25")]
    q50: Annotated[float | None, Field(alias="0.5")]
    q75: Annotated[float | None, Field(alias="0.75")]
    q95: Annotated[float | None, Field(alias="0.95")]


class Summary(WireModel):
    """One parameter of a layer over its channels."""

    min: float | None
    max: float | None
    mean: float | None
    quantiles: Quantiles


class Summaries(WireModel):
    """γ, β, μ, σ² of the layer, and the line y = multiplier·x + shift that they make."""

    scale: Summary
    bias: Summary
    mean: Summary
    var: Summary
    multiplier: Summary
    shift: Summary


class LayerWords(WireModel):
    """One normalization layer of the original network, and where it went."""

    name: str = Field(examples=["features.1"])
    node: str = Field(examples=["/features/features.1/BatchNormalization"])
    operator: str = Field(examples=["BatchNormalization"])
    channels: int = Field(examples=[16])
    epsilon: float = Field(examples=[1e-05])
    momentum: float | None = Field(examples=[0.1])
    count: int | None = Field(examples=[938])
    statistics: Literal["population", "moving average", "re-calibrated", "model"]
    folded_into: str | None = Field(examples=["/features/features.0/Conv"])
    rule: str | None = Field(examples=["conv"])
    refusal: str | None = Field(examples=[None])
    findings: list[str] = Field(examples=[["BN013 warning: 3 of 16 channels never fire"]])
    dead_channels: list[int] = Field(description="Channels with |scale| < median |scale| / 1000.")


class LayerReport(LayerWords):
    """A layer in summary."""

    summaries: Summaries


class Check(WireModel):
    """One promise: whether it held, the figure measured, its limit, and what the figure means."""

    passed: bool
    figure: float | None
    limit: float
    detail: str


class ChecksBuilt(WireModel):
    """The promises as checked when the bundle was built."""

    frozen: Check
    batch_invariant: Check
    parity: Check


class ChecksHere(WireModel):
    """The promises that depend on the machine, as checked on this one when the model loaded."""

    frozen: Check
    batch_invariant: Check


class BundleChecks(WireModel):
    """The promises, at both times."""

    built: ChecksBuilt
    here: ChecksHere


class NormalizationReport(WireModel):
    """Every normalization layer in network order, and the promises of the bundle."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["1"])
    checks: BundleChecks
    row_by_row: bool = Field(description="Each row is run alone; `checks.here` says why.")
    forced: list[str] = Field(description="Errors that were overridden when it was built.")
    layers: list[LayerReport]


class FrozenArrays(WireModel):
    """One value a channel."""

    scale: list[float | None]
    bias: list[float | None]
    mean: list[float | None]
    var: list[float | None]
    multiplier: list[float | None]
    shift: list[float | None]


class MovingArrays(WireModel):
    """The moving averages of training, one value a channel."""

    mean: list[float | None]
    var: list[float | None]


class LayerArrays(LayerReport):
    """One layer with its arrays; `moving` where the moving averages of training are known, and
    `baseline` where drift is watched."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["1"])
    frozen: FrozenArrays
    moving: MovingArrays | None = None
    baseline: BaselineArrays | None = None
