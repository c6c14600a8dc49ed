"""The V2 inference response: from arrays to the bytes of an answer.

JSON, or JSON followed by the binary data of the outputs that were asked for in binary.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from service.api.codec import LENGTH_HEADER, InferRequest
from service.api.dependencies import json_response
from service.model import Model
from service.tensors import Array, datatype_of


def encode(model: Model, request: InferRequest, outputs: Mapping[str, Array]) -> Response:
    """The answer: outputs in the order asked for, `id` echoed where one was given."""
    described: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for wanted in request.outputs:
        array = np.ascontiguousarray(outputs[wanted.name])
        entry: dict[str, Any] = {
            "name": wanted.name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if wanted.binary:
            chunks.append(array.tobytes())
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = array.ravel()
        described.append(entry)
    head: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    if request.id is not None:
        head["id"] = request.id
    # JSON has no NaN and no infinity: they are written as null, and counted, so that a client
    # can tell. Binary data keeps their bits.
    if nonfinite := sum(_nonfinite(outputs[wanted.name]) for wanted in request.outputs):
        head["parameters"] = {"nonfinite_count": nonfinite}
    head["outputs"] = described
    if any(wanted.binary for wanted in request.outputs):
        return _with_binary(head, chunks)
    return json_response(head)


def _with_binary(head: Mapping[str, Any], chunks: list[bytes]) -> Response:
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(
        b"".join([text, *chunks]),
        media_type="application/octet-stream",
        headers={LENGTH_HEADER: str(len(text))},
    )


def _nonfinite(array: Array) -> int:
    return int(np.count_nonzero(~np.isfinite(array))) if array.dtype.kind == "f" else 0
