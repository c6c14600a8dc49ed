"""The V2 inference response: from arrays to the bytes of an answer.

JSON, or JSON followed by the binary data of the outputs that were asked for in binary.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from service.api.codec import LENGTH_HEADER, InferRequest
from service.api.dependencies import JSON, Answer, json_response
from service.api.elements import to_bytes
from service.api.nonfinite import Nonfinite
from service.api.outputs import classified
from service.model import Model
from service.tensors import Array, datatype_of

# Below this size an answer is not compressed: it fits into one packet anyway.
COMPRESSED_FROM = 1024
_FASTEST = 1  # of zlib's levels: numbers hardly become smaller by a higher one
_BINARY = (b"content-type", b"application/octet-stream")
_LENGTH = LENGTH_HEADER.lower().encode()
_DATA = b'"data":'
_MOST_SHAPES = 8  # of answers to the same JSON; only a network whose answer's size varies has more
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


def encode(
    model: Model,
    request: InferRequest,
    outputs: Mapping[str, Array],
    nonfinite: Nonfinite | None = None,
) -> Response:
    """The answer: outputs in the order asked for, `id` echoed where one was given.

    JSON has no NaN and no infinity: they are written as null; `nonfinite` counts them, so that a
    client can tell. Binary data keeps their bits.
    """
    if request.answers is None or nonfinite is not None:
        return _encode(model, request, outputs, nonfinite)
    arrays = [outputs[wanted.name] for wanted in request.outputs]
    shapes = tuple([array.shape for array in arrays])
    if (texts := request.answers.get(shapes)) is not None:
        return _encode_again(texts, arrays, request.outputs[0].binary)
    if len(request.answers) < _MOST_SHAPES:
        request.answers[shapes] = _texts(model, request, outputs)
    return _encode(model, request, outputs)


def _encode_again(texts: tuple[bytes, ...], arrays: list[Array], binary: bool) -> Response:
    if binary:
        return _with_binary(texts[0], [array.tobytes() for array in arrays])
    parts = [texts[0]]
    for array, text in zip(arrays, texts[1:], strict=True):
        parts += (_numbers(array), text)
    return Answer(b"".join(parts), JSON)


def _texts(model: Model, request: InferRequest, outputs: Mapping[str, Array]) -> tuple[bytes, ...]:
    """What surrounds the numbers of an answer; all before them where they are binary."""
    answer = bytes(_encode(model, request, outputs).body)
    arrays = [outputs[wanted.name] for wanted in request.outputs]
    if request.outputs[0].binary:
        return (answer[: len(answer) - sum(array.nbytes for array in arrays)],)
    texts = []
    for array in arrays:
        text, _, answer = answer.partition(_DATA + _numbers(array))
        texts.append(text + _DATA)
    return (*texts, answer)


def _numbers(array: Array) -> bytes:
    return orjson.dumps(np.ascontiguousarray(array).ravel(), option=orjson.OPT_SERIALIZE_NUMPY)


def _encode(
    model: Model,
    request: InferRequest,
    outputs: Mapping[str, Array],
    nonfinite: Nonfinite | None = None,
) -> Response:
    described: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    labels = {model.outputs[0].name: model.manifest.labels or ()}
    for wanted in request.outputs:
        array = np.ascontiguousarray(outputs[wanted.name])
        if wanted.classes:
            array = classified(array, wanted.classes, labels.get(wanted.name, ()))
        entry: dict[str, Any] = {
            "name": wanted.name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if wanted.binary:
            chunks.append(to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            entry["data"] = array.ravel() if array.dtype.kind != "O" else array.ravel().tolist()
        described.append(entry)
    head: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    if request.id is not None:
        head["id"] = request.id
    if nonfinite is not None:
        head["parameters"] = nonfinite.parameters()
    head["outputs"] = described
    if any(wanted.binary for wanted in request.outputs):
        return _with_binary(orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY), chunks)
    return json_response(head)


def accepted_encoding(header: str) -> str | None:
    """The best of gzip and deflate that Accept-Encoding allows (RFC 9110, 12.5.3); or neither."""
    weights = dict(map(_weighted, header.lower().split(",")))
    everything = weights.get("*", 0.0)
    found = {name: weights.get(name, everything) for name in _WINDOW_BITS}
    best = max(found, key=found.__getitem__)
    plain = weights.get("identity", 0.0)
    return best if found[best] > 0 and found[best] >= plain else None


def compress(response: Response, encoding: str) -> None:
    """Compresses the body of an answer in place; the length of its JSON part stays as it was."""
    packer = zlib.compressobj(_FASTEST, wbits=_WINDOW_BITS[encoding])
    response.body = packer.compress(bytes(response.body)) + packer.flush()
    response.headers["content-length"] = str(len(response.body))
    response.headers["content-encoding"] = encoding


def _weighted(item: str) -> tuple[str, float]:
    name, _, parameter = item.partition(";")
    key, _, value = parameter.partition("=")
    try:
        weight = float(value) if key.strip() == "q" else 1.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight


def _with_binary(text: bytes, chunks: list[bytes]) -> Response:
    return Answer(b"".join([text, *chunks]), _BINARY, (_LENGTH, b"%d" % len(text)))
