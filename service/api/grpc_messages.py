"""Between the messages of gRPC and what the rest of the API room works with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.api.codec import InferRequest, Message
from service.api.elements import to_bytes
from service.api.nonfinite import Nonfinite
from service.api.outputs import classified
from service.api.protobuf import open_inference_pb2 as pb
from service.errors import InvalidRequest
from service.model import Model
from service.tensors import Array, datatype_of

# The field of InferTensorContents for each datatype; FP16 has none, and comes in raw bytes only.
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def read_request(request: pb.ModelInferRequest) -> Message:
    """The request as the JSON door would have it: one validation serves both."""
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(
            f"raw_input_contents: expected one for each of {len(request.inputs)} inputs, "
            f"got {len(raw)}"
        )
    inputs = [
        _input(sent, raw[place] if raw else None) for place, sent in enumerate(request.inputs)
    ]
    outputs = [
        {"name": wanted.name, "parameters": _parameters(wanted.parameters)}
        for wanted in request.outputs
    ]
    document = {
        "inputs": inputs,
        "outputs": outputs,
        "parameters": _parameters(request.parameters),
    }
    return Message(document, memoryview(b"".join(raw)), request.id or None)


def write_answer(
    model: Model,
    request: InferRequest,
    outputs: Mapping[str, Array],
    nonfinite: Nonfinite | None = None,
) -> pb.ModelInferResponse:
    """The answer; all tensors in raw bytes, where NaN and infinities keep their bits."""
    answer = pb.ModelInferResponse(
        model_name=model.name, model_version=str(model.version), id=request.id or ""
    )
    for name, value in (nonfinite.parameters() if nonfinite else {}).items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(answer.parameters[name], kind, value)
    labels = {model.outputs[0].name: model.manifest.labels or ()}
    for wanted in request.outputs:
        array = np.ascontiguousarray(outputs[wanted.name])
        if wanted.classes:
            array = classified(array, wanted.classes, labels.get(wanted.name, ()))
        datatype = datatype_of(array.dtype)
        answer.outputs.add(name=wanted.name, datatype=datatype, shape=array.shape)
        answer.raw_output_contents.append(to_bytes(array))
    return answer


def write_statistics(document: Mapping[str, Any]) -> pb.ModelStatistics:
    """The counters of one version."""
    batches = [
        pb.InferBatchStatistics(
            batch_size=batch["batch_size"],
            **{name: pb.StatisticDuration(**batch[name]) for name in batch if name != "batch_size"},
        )
        for batch in document["batch_stats"]
    ]
    durations = document["inference_stats"]
    return pb.ModelStatistics(
        name=document["name"],
        version=document["version"],
        last_inference=document["last_inference"],
        inference_count=document["inference_count"],
        execution_count=document["execution_count"],
        inference_stats=pb.InferStatistics(
            **{name: pb.StatisticDuration(**duration) for name, duration in durations.items()}
        ),
        batch_stats=batches,
    )


def _input(sent: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> dict[str, Any]:
    given = _parameters(sent.parameters)
    entry: dict[str, Any] = {
        "name": sent.name,
        "datatype": sent.datatype,
        "shape": list(sent.shape),
        "parameters": given,
    }
    if raw is not None:
        if sent.HasField("contents"):
            raise InvalidRequest(f"input '{sent.name}': expected raw bytes or contents, got both")
        given["binary_data_size"] = len(raw)
    elif (field := _FIELDS.get(sent.datatype)) is not None:
        entry["data"] = list(getattr(sent.contents, field))
        if sent.datatype == "BYTES":
            entry["data"] = [_text(sent.name, element) for element in entry["data"]]
    return entry


def _text(name: str, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"input '{name}': expected UTF-8 text, got other bytes") from None


def _parameters(sent: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    return {
        key: getattr(value, kind)
        for key, value in sent.items()
        if (kind := value.WhichOneof("parameter_choice")) is not None
    }
