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

from service.api.bodies import parse_json
from service.api.dependencies import JsonLimits
from service.api.elements import from_bytes, from_json, json_kind
from service.api.numbers import NumbersParser
from service.api.outputs import Shapes, WantedOutput, wanted_outputs
from service.api.parameters import count, got, item_name, objects, parameters
from service.errors import InvalidRequest, TooLarge, shorten
from service.tensors import Array, TensorSpec, check_datatype, check_rows, check_shape

LENGTH_HEADER = "Inference-Header-Content-Length"
_SHARED_MEMORY = "shared_memory_region"
_LONGEST_INTEGER = 20  # digits; what is longer exceeds 64 bits
_LENIENT_BYTES = 2**20  # the slow parser is offered no more than this


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A valid request: `inputs` fit the model, in name, datatype, shape, count and rows.

    `priority` 1 is the highest, 0 the default; the run must begin within `timeout_s`. `answers` is
    the text around the numbers of answers to the same, by their shapes, where that is kept.
    """

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[WantedOutput, ...]
    priority: int = 0
    timeout_s: float | None = None
    answers: dict[Shapes, tuple[bytes, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A body taken apart, but not yet held against a model.

    `document` is None for a raw request, whose whole body is data. `fault` is what was wrong with
    the JSON where a parser more lenient than the standard could still read it.
    """

    document: Mapping[str, Any] | None
    binary: memoryview
    id: str | None = None
    fault: InvalidRequest | None = None


def read_message(
    body: bytes,
    header_length: str | None,
    limits: JsonLimits,
    numbers: NumbersParser | None = None,
) -> Message:
    """Takes a body apart; `header_length` is the value of LENGTH_HEADER, None without it.

    `numbers` reads the usual kind of JSON quicker; what it reads must be decoded before the next.
    """
    length = _json_length(header_length, len(body))
    if length == 0 and header_length is not None:
        return Message(None, memoryview(body))
    head, fault = body[:length], None
    try:
        document = parse_json(head, limits, numbers)
    except TooLarge:
        raise
    except InvalidRequest as error:
        document, fault = _with_nonfinite(head, error), error
    if not isinstance(document, dict):
        raise InvalidRequest(f"request body: expected an object, got {json_kind(document)}")
    return Message(document, memoryview(body)[length:], _request_id(document), fault)


def decode(
    message: Message, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferRequest:
    """The message as a request to a model with these inputs and outputs."""
    document = message.document
    if document is None:
        return _raw_request(message.binary, inputs, outputs)
    arrays = _Inputs(inputs, message.binary).decode(document.get("inputs"))
    if message.fault is not None:  # it was not in a tensor, where its place could be named
        raise message.fault
    given = parameters("request", document)
    timeout_us = count("request", given, "timeout")
    return InferRequest(
        id=message.id,
        inputs=arrays,
        outputs=wanted_outputs(document, given, outputs),
        priority=count("request", given, "priority"),
        timeout_s=timeout_us / 1e6 if timeout_us else None,
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
    body: memoryview, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferRequest:
    """The whole body is one row of the only input; all outputs are answered as binary data."""
    spec, *others = inputs
    free = sum(size == -1 for size in spec.shape[1:])
    if others or free > 1:
        raise InvalidRequest(
            f"header {LENGTH_HEADER}: expected a length above 0, because raw requests are for "
            "models with one input that has at most one free dimension beside the batch"
        )
    if spec.datatype == "BYTES":  # one element: its length need not be told
        body = memoryview(len(body).to_bytes(4, "little") + bytes(body))
        size = 1
    else:
        known = prod(spec.sizes(1)) * spec.dtype.itemsize
        size = max(1, len(body) // known) if free else 1
    shape = spec.sizes(1, size)
    check_shape(spec, shape)
    array = from_bytes(spec, shape, body)
    return InferRequest(
        None, {spec.name: array}, tuple(WantedOutput(o.name, True) for o in outputs)
    )


def _with_nonfinite(raw: bytes, fault: InvalidRequest) -> object:
    """The JSON where its only fault is a number that JSON, or a double, has not; else `fault`.

    Clients do send the literals NaN and Infinity, so the fault is worth naming by input and
    index; Python's own parser, slower and more lenient, is used for nothing else.
    """
    suspect = b"NaN" in raw or b"Infinity" in raw or "infinity" in str(fault)
    if not suspect or len(raw) > _LENIENT_BYTES:
        raise fault
    try:
        return json.loads(raw, parse_int=_integer)
    except (ValueError, RecursionError):
        raise fault from None


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
        for item in objects("inputs", sent):
            name = item_name("input", item, self._specs)
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
            raise InvalidRequest(f"{place}: expected a string as 'datatype', got {got(datatype)}")
        check_datatype(spec, datatype)
        shape = _shape(spec, item.get("shape"))
        check_shape(spec, shape)
        given = parameters(place, item)
        if _SHARED_MEMORY in given:
            raise InvalidRequest(f"{place}: shared memory is not supported, send the data itself")
        size = given.get("binary_data_size")
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
                f"{place}: expected a number of bytes as 'binary_data_size', got {got(size)}"
            )
        if size > len(self._binary):
            raise InvalidRequest(
                f"{place}: expected {shorten(size)} bytes of binary data, "
                f"got {len(self._binary)}; the header {LENGTH_HEADER} says where they begin"
            )
        taken, self._binary = self._binary[:size], self._binary[size:]
        return taken


def _shape(spec: TensorSpec, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(size) is not int or size < 0 for size in value):
        raise InvalidRequest(
            f"input '{spec.name}': expected a list of integers of 0 or more as 'shape', "
            f"got {shorten(value) if isinstance(value, list) else got(value)}"
        )
    return tuple(value)
