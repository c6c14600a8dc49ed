"""JSON whose numbers go straight into memory, without an object for each.

`orjson` makes a Python float of every number, and NumPy an array of all of them: three quarters of
the time that a request in JSON takes. simdjson (Langdale & Lemire 2019) reads the same text into an
array of doubles. It serves only what is right and plain; everything else is `None` here, and the
strict way finds the words for it.
"""

from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

LEAST_BYTES = 512  # of a body that this is worth while for
_KEPT_BYTES = 2**20  # a parser keeps the memory of the largest body that it has read


class Numbers:
    """A list in a request that was not yet taken apart."""

    __slots__ = ("_array",)

    def __init__(self, array: simdjson.Array) -> None:
        self._array = array

    def floats(self) -> NDArray[np.float64] | None:
        """As doubles; None where there is anything but numbers."""
        return _floats(self._array)

    def plain(self) -> list[Any]:
        """As Python's own objects."""
        return self._array.as_list()


class NumbersParser:
    """Reads requests, one after the other: what one holds must be let go before the next."""

    def __init__(self) -> None:
        self._parser = simdjson.Parser()

    def parse(self, raw: bytes) -> dict[str, Any] | None:
        """A request with the flat `data` of its inputs as Numbers; None where it is not of that
        form, or no JSON."""
        if len(raw) < LEAST_BYTES:
            return None
        parser = self._parser if len(raw) <= _KEPT_BYTES else simdjson.Parser()
        try:
            document = parser.parse(raw)
            if not isinstance(document, simdjson.Object):
                return None
            return _request(document, raw.count(b"["))
        except (ValueError, RuntimeError):
            self._parser = simdjson.Parser()  # something still holds what the old one read
            return None

    def numbers(self, raw: bytes) -> NDArray[np.float64] | None:
        """A list of numbers, as doubles; None where it is anything else."""
        parser = self._parser if len(raw) <= _KEPT_BYTES else simdjson.Parser()
        try:
            array = parser.parse(raw)
            if isinstance(array, simdjson.Array) and raw.find(b"[", 1) < 0:
                return _floats(array)
            return None
        except (ValueError, RuntimeError):
            self._parser = simdjson.Parser()  # as above
            return None


def _floats(array: simdjson.Array) -> NDArray[np.float64] | None:
    try:
        return np.frombuffer(array.as_buffer(of_type="d"), np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _request(document: simdjson.Object, brackets: int) -> dict[str, Any] | None:
    """None for a key given twice, and for more brackets than lists that are looked at: a nested
    list is to be checked against the shape."""
    request = _plain(document, leave="inputs")
    inputs = document.get("inputs")
    if request is None or not isinstance(inputs, simdjson.Array):
        return None
    request["inputs"] = items = [_input(item) for item in inputs]
    lists = 1 + isinstance(request.get("outputs"), list) + 2 * len(items)
    return request if None not in items and lists == brackets else None


def _input(item: object) -> dict[str, Any] | None:
    if not isinstance(item, simdjson.Object):
        return None
    found = _plain(item, leave="data")
    data = item.get("data")
    if found is None or not isinstance(data, simdjson.Array) or "shape" not in found:
        return None
    found["data"] = Numbers(data)
    return found


def _plain(found: simdjson.Object, leave: str) -> dict[str, Any] | None:
    """All but one value as Python's own objects; None for a key given twice."""
    keys = list(found.keys())
    if len(set(keys)) < len(keys):
        return None
    return {key: _value(found[key]) for key in keys if key != leave}


def _value(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value
