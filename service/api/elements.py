"""The elements of one tensor: from JSON numbers, and from raw bytes, to an array.

V2 `data`: flat in row-major order, or nested exactly as the shape says (serving contract, 2.3).
Strict where other servers guess: no strings or booleans for numbers, no fractions for integers,
and nothing that the datatype cannot hold.
"""

import struct
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.numbers import Numbers
from service.errors import InvalidRequest, shorten
from service.tensors import Array, TensorSpec, check_count, check_finite, count_nonfinite

_ACCEPTED: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "u": ({int}, "integers"),
    "i": ({int}, "integers"),
    "f": ({int, float}, "numbers"),
    "O": ({str}, "text"),
}
_LENGTH = struct.Struct("<I")  # before each element of BYTES


def from_json(spec: TensorSpec, shape: tuple[int, ...], data: object) -> Array:
    """The array of `shape` that flat or nested `data` holds; InvalidRequest names the fault."""
    if isinstance(data, Numbers):
        wide = data.floats()
        array = None if wide is None else from_numbers(spec, shape, wide)
        if array is not None:
            return array
        data = data.plain()
    if not isinstance(data, list):
        raise InvalidRequest(
            f"input '{spec.name}': expected a list as 'data', got {json_kind(data)}"
        )
    nested = len(shape) > 1 and bool(data) and isinstance(data[0], list)
    flat = _unnest(spec.name, shape, data) if nested else data
    check_count(spec.name, shape, len(flat))
    _check_types(spec, shape, flat)
    array = _convert(spec, shape, flat).reshape(shape)
    check_finite(spec.name, array)
    return array


def from_numbers(
    spec: TensorSpec, shape: tuple[int, ...], wide: NDArray[np.float64]
) -> Array | None:
    """None for all that is not right: it is looked at again, to say what it is."""
    if spec.dtype.kind != "f" or wide.size != prod(shape):
        return None
    with np.errstate(over="ignore"):
        array: Array = wide.astype(spec.dtype).reshape(shape)
    return None if count_nonfinite(array) else array


def from_bytes(spec: TensorSpec, shape: tuple[int, ...], raw: memoryview) -> Array:
    """The array of `shape` in little-endian `raw`, without a copy where alignment allows."""
    if spec.datatype == "BYTES":
        return _texts_from_bytes(spec, shape, raw)
    expected = prod(shape) * spec.dtype.itemsize
    if len(raw) != expected:
        raise InvalidRequest(
            f"input '{spec.name}': expected {expected} bytes for {spec.datatype} "
            f"{list(shape)}, got {len(raw)}"
        )
    if spec.datatype == "BOOL" and np.any(np.frombuffer(raw, np.uint8) > 1):
        raise InvalidRequest(f"input '{spec.name}': expected bytes of 0 or 1, got others")
    array: Array = np.frombuffer(raw, spec.dtype).reshape(shape)
    if not array.flags.aligned:
        array = array.copy()
    check_finite(spec.name, array)
    return array


def to_bytes(array: Array) -> bytes:
    """The elements in little-endian order, each of BYTES after its length."""
    if array.dtype.kind != "O":
        return array.tobytes()
    encoded = [text.encode() for text in array.ravel()]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))


def json_kind(value: object) -> str:
    """What a JSON value is, in words for a message."""
    if value is None:
        return "null"
    words = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return words.get(type(value), "a number")


def _unnest(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """One level of lists for each dimension, each list as long as the dimension."""
    level: list[Any] = [data]
    for axis, size in enumerate(shape):
        for item in level:
            if not isinstance(item, list) or len(item) != size:
                got = f"{len(item)}" if isinstance(item, list) else json_kind(item)
                raise InvalidRequest(
                    f"input '{name}': expected nested lists of shape {list(shape)}, "
                    f"with {size} elements in dimension {axis}; got {got}"
                )
        level = list(chain.from_iterable(level))
    return level


def _check_types(spec: TensorSpec, shape: tuple[int, ...], flat: list[Any]) -> None:
    accepted, words = _ACCEPTED[spec.dtype.kind]
    if set(map(type, flat)) <= accepted:
        return
    place = next(i for i, value in enumerate(flat) if type(value) not in accepted)
    value = flat[place]
    got = shorten(value) if type(value) in (int, float) else json_kind(value)
    raise InvalidRequest(
        f"input '{spec.name}': expected {words} for {spec.datatype}, "
        f"got {got} at {_index(place, shape)}"
    )


def _convert(spec: TensorSpec, shape: tuple[int, ...], flat: list[Any]) -> Array:
    """Refuses what the datatype cannot hold; `check_finite` finds what was not finite before."""
    if spec.dtype.kind in "ui":
        limits = np.iinfo(spec.datatype.lower())
        low, high = int(limits.min), int(limits.max)
        if min(flat) < low or max(flat) > high:
            place = next(i for i, value in enumerate(flat) if not low <= value <= high)
            raise _out_of_range(spec, shape, flat, place)
        return np.array(flat, spec.dtype)
    if spec.dtype.kind in "bO":
        return np.array(flat, spec.dtype)
    wide = np.array(flat, np.float64)
    with np.errstate(over="ignore"):
        array = wide.astype(spec.dtype)
    if not np.isfinite(array).all():
        overflowed = np.isinf(array) & np.isfinite(wide)
        if overflowed.any():
            raise _out_of_range(spec, shape, flat, int(np.argmax(overflowed)))
    return array


def _out_of_range(
    spec: TensorSpec, shape: tuple[int, ...], flat: list[Any], place: int
) -> InvalidRequest:
    return InvalidRequest(
        f"input '{spec.name}': expected values that {spec.datatype} can hold, "
        f"got {shorten(flat[place])} at {_index(place, shape)}"
    )


def _index(place: int, shape: tuple[int, ...]) -> list[int]:
    return [int(i) for i in np.unravel_index(place, shape)]


def _texts_from_bytes(spec: TensorSpec, shape: tuple[int, ...], raw: memoryview) -> Array:
    texts: list[str] = []
    place, end = 0, len(raw)
    while place < end:
        start = place + _LENGTH.size
        stop = start + _LENGTH.unpack_from(raw, place)[0] if start <= end else end + 1
        if stop > end:
            raise InvalidRequest(
                f"input '{spec.name}': expected each element as its length in 4 bytes and as "
                f"many bytes of text; element {len(texts)} goes beyond the {end} bytes sent"
            )
        try:
            texts.append(str(raw[start:stop], "utf-8"))
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"input '{spec.name}': expected UTF-8 text, got other bytes as element {len(texts)}"
            ) from None
        place = stop
    check_count(spec.name, shape, len(texts))
    return np.array(texts, object).reshape(shape)
