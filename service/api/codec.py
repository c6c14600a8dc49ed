"""The V2 inference request: from the bytes of a body to checked arrays.

Open Inference Protocol V2 with the binary tensor extension (Triton, extension_binary_data).
Whether a body has a binary part is decided by the header Inference-Header-Content-Length alone:
clients send any content type. Unknown keys are ignored, as the protocol demands.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import orjson

from service.api.dependencies import parse_json
from service.api.elements import from_bytes, from_json, json_kind
from service.errors import InvalidRequest, shorten
from service.tensors import Array, TensorSpec, check_datatype, check_rows, check_shape

LENGTH_HEADER = "Inference-Header-Content-Length"
_SHARED_MEMORY = "shared_memory_region"
_LONGEST_INTEGER = 20  # digits; what is longer exceeds 64 bits


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that the answer is to hold, as binary data or as JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A valid request: `inputs` fit the model, in name, datatype, shape, count and rows."""

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[WantedOutput, ...]


def decode(
    body: bytes,
    header_length: str | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> InferRequest:
    """The request in `body`; `header_length` is the value of LENGTH_HEADER, None without it."""
    length = _json_length(header_length, len(body))
    if length == 0 and header_length is not None:
        return _raw_request(body, inputs, outputs)
    head, binary = body[:length], memoryview(body)[length:]
    try:
        document = parse_json(head)
    except InvalidRequest as error:
        _name_nonfinite(head, inputs)
        raise error from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"request body: expected an object, got {json_kind(document)}")
    return InferRequest(
        id=_request_id(document),
        inputs=_Inputs(inputs, binary).decode(document.get("inputs")),
        outputs=_wanted_outputs(document, outputs),
    )


def _json_length(header: str | None, total: int) -> int:
    if header is None:
        return total
    if not (header.isascii() and header.isdigit()) or int(header[:20]) > total:
        raise InvalidRequest(
            f"header {LENGTH_HEADER}: expected a number of bytes from 0 to {total}, "
            f"got '{shorten(header)}'"
        )
    return int(header)


def _raw_request(
    body: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferRequest:
    """The whole body is one row of the only input; all outputs are answered as binary data."""
    spec, *others = inputs
    free = sum(size == -1 for size in spec.shape[1:])
    if others or free > 1:
        raise InvalidRequest(
            f"header {LENGTH_HEADER}: expected a length above 0, because raw requests are for "
            "models with one input that has at most one free dimension beside the batch"
        )
    known = prod(spec.sizes(1)) * spec.dtype.itemsize
    size = max(1, len(body) // known) if free else 1
    shape = spec.sizes(1, size)
    check_shape(spec, shape)
    array = from_bytes(spec, shape, memoryview(body))
    return InferRequest(
        None, {spec.name: array}, tuple(WantedOutput(o.name, True) for o in outputs)
    )


def _name_nonfinite(raw: bytes, inputs: Sequence[TensorSpec]) -> None:
    """Raises the better sentence where the fault is a number that JSON, or a double, has not.

    Clients do send the literals NaN and Infinity, so the fault is worth naming by input and
    index; Python's own parser, slower and more lenient, is used for nothing else.
    """
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not (b"NaN" in raw or b"Infinity" in raw or "infinity" in str(error)):
            return
    try:
        document = json.loads(raw, parse_int=_integer)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        _Inputs(inputs, memoryview(b"")).decode(document.get("inputs"))


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _request_id(document: Mapping[str, Any]) -> str | None:
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequest(f"'id': expected a string, got {json_kind(request_id)}")
    return request_id


class _Inputs:
    """Decodes the inputs in the order sent, taking binary data from the front of what is left."""

    def __init__(self, specs: Sequence[TensorSpec], binary: memoryview) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._binary = binary

    def decode(self, sent: object) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for item in _objects("inputs", sent):
            name = _name("input", item, self._specs)
            if name in arrays:
                raise InvalidRequest(f"input '{name}': expected once, got it twice")
            arrays[name] = self._decode_one(self._specs[name], item)
        missing = [name for name in self._specs if name not in arrays]
        if missing:
            raise InvalidRequest(
                f"inputs: expected {', '.join(self._specs)}; missing {', '.join(missing)}"
            )
        if self._binary:
            raise InvalidRequest(
                f"request body: expected no bytes after the last tensor, got {len(self._binary)}"
            )
        check_rows(arrays)
        return arrays

    def _decode_one(self, spec: TensorSpec, item: Mapping[str, Any]) -> Array:
        place = f"input '{spec.name}'"
        datatype = item.get("datatype")
        if not isinstance(datatype, str):
            raise InvalidRequest(f"{place}: expected a string as 'datatype', got {_got(datatype)}")
        check_datatype(spec, datatype)
        shape = _shape(spec, item.get("shape"))
        check_shape(spec, shape)
        parameters = _parameters(place, item)
        if _SHARED_MEMORY in parameters:
            raise InvalidRequest(f"{place}: shared memory is not supported, send the data itself")
        size = parameters.get("binary_data_size")
        if (size is None) == ("data" not in item):
            both = "neither" if size is None else "both"
            raise InvalidRequest(
                f"{place}: expected either 'data' or the parameter 'binary_data_size', got {both}"
            )
        if size is None:
            return from_json(spec, shape, item["data"])
        return from_bytes(spec, shape, self._take(place, size))

    def _take(self, place: str, size: object) -> memoryview:
        if type(size) is not int or size < 0:
            raise InvalidRequest(
                f"{place}: expected a number of bytes as 'binary_data_size', got {_got(size)}"
            )
        if size > len(self._binary):
            raise InvalidRequest(
                f"{place}: expected {shorten(size)} bytes of binary data, "
                f"got {len(self._binary)}; the header {LENGTH_HEADER} says where they begin"
            )
        taken, self._binary = self._binary[:size], self._binary[size:]
        return taken


def _wanted_outputs(
    document: Mapping[str, Any], specs: Sequence[TensorSpec]
) -> tuple[WantedOutput, ...]:
    """The outputs named, or all; `binary_data` of one overrides `binary_data_output` of all."""
    by_default = _flag("request", _parameters("request", document), "binary_data_output", False)
    if not document.get("outputs"):
        return tuple(WantedOutput(spec.name, by_default) for spec in specs)
    wanted: dict[str, WantedOutput] = {}
    for item in _objects("outputs", document["outputs"]):
        name = _name("output", item, {spec.name: spec for spec in specs})
        place = f"output '{name}'"
        if name in wanted:
            raise InvalidRequest(f"{place}: expected once, got it twice")
        parameters = _parameters(place, item)
        if "classification" in parameters:
            raise InvalidRequest(f"{place}: the parameter 'classification' is not implemented")
        if _SHARED_MEMORY in parameters:
            raise InvalidRequest(f"{place}: shared memory is not supported")
        wanted[name] = WantedOutput(name, _flag(place, parameters, "binary_data", by_default))
    return tuple(wanted.values())


def _objects(key: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise InvalidRequest(f"'{key}': expected a list of objects, got {_got(value)}")
    for item in value:
        if not isinstance(item, dict):
            raise InvalidRequest(f"'{key}': expected a list of objects, got {json_kind(item)}")
    return value


def _name(kind: str, item: Mapping[str, Any], known: Mapping[str, TensorSpec]) -> str:
    name = item.get("name")
    if not isinstance(name, str):
        raise InvalidRequest(f"{kind}: expected a string as 'name', got {_got(name)}")
    if name not in known:
        raise InvalidRequest(f"{kind}: expected one of {', '.join(known)}; got '{shorten(name)}'")
    return name


def _shape(spec: TensorSpec, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(size) is not int or size < 0 for size in value):
        raise InvalidRequest(
            f"input '{spec.name}': expected a list of integers of 0 or more as 'shape', "
            f"got {shorten(value) if isinstance(value, list) else _got(value)}"
        )
    return tuple(value)


def _parameters(place: str, item: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(
            f"{place}: expected an object as 'parameters', got {json_kind(parameters)}"
        )
    for key, value in parameters.items():
        if not isinstance(value, (str, int, float)):  # a bool is an int
            raise InvalidRequest(
                f"{place}: expected a string, number or boolean as parameter '{shorten(key)}', "
                f"got {json_kind(value)}"
            )
    return parameters


def _flag(place: str, parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{place}: expected a boolean as '{key}', got {json_kind(value)}")
    return value


def _got(value: object) -> str:
    return "nothing" if value is None else json_kind(value)
