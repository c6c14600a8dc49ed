"""Frames that were valid before: a client that sends JSON sends the same around the numbers.

What stands before and after the numbers of an input means the same every time. So it is kept, as
the heads of binary requests are, and only the numbers are read.
"""

from weakref import WeakKeyDictionary

import orjson

from service.api.codec import InferRequest
from service.api.elements import from_numbers
from service.api.numbers import LEAST_BYTES, NumbersParser
from service.api.outputs import kept_answers
from service.model import Model

_MOST_BYTES = 1024  # of a frame that is kept
_MOST_FRAMES = 64  # of a model; a client that sends ever new ones is served without
_LONGEST_KEY = 16  # from "data" to its list
_MARK = 0.123456789  # where the numbers of the input are


class _Frame:
    """What a frame says: the request without its numbers."""

    def __init__(self, model: Model, asked: InferRequest) -> None:
        ((self._name, array),) = asked.inputs.items()
        self._spec, self._shape = model.inputs[0], array.shape
        answers = kept_answers(asked.outputs, model.outputs)
        self._rest = (asked.outputs, asked.priority, asked.timeout_s, answers)

    def decode(self, numbers: bytes, parser: NumbersParser) -> InferRequest | None:
        wide = parser.numbers(numbers)
        array = None if wide is None else from_numbers(self._spec, self._shape, wide)
        return None if array is None else InferRequest(None, {self._name: array}, *self._rest)


class Frames:
    """The frames of all models; those of a model go with it."""

    def __init__(self, parser: NumbersParser) -> None:
        self._parser = parser
        self._known: WeakKeyDictionary[Model, dict[bytes, _Frame]] = WeakKeyDictionary()

    def decode(self, model: Model, body: bytes) -> InferRequest | None:
        """The request, if its frame is known and it holds as many numbers as it should; else None,
        and the strict way finds the words."""
        known = self._known.get(model)
        if not known or (found := _split(body)) is None:
            return None
        start, stop = found
        frame = known.get(_frame(body, start, stop))
        return None if frame is None else frame.decode(body[start:stop], self._parser)

    def keep(self, model: Model, body: bytes, asked: InferRequest) -> None:
        """Keeps the frame of a valid request with one input of floating-point numbers."""
        known = self._known.setdefault(model, {})
        single = len(model.inputs) == 1 and model.inputs[0].dtype.kind == "f"
        if asked.id is not None or not single or len(known) >= _MOST_FRAMES:
            return
        if (found := _split(body)) is not None and _is_the_data(body, *found):
            known[_frame(body, *found)] = _Frame(model, asked)


def _split(body: bytes) -> tuple[int, int] | None:
    """Where the first list after "data" begins and ends, if it is flat; None where there is none,
    or what is around it is too long, or the numbers are too few."""
    if (key := body.find(b'"data"')) < 0:
        return None
    start, stop = body.find(b"[", key, key + _LONGEST_KEY), body.find(b"]", key) + 1
    if not 0 <= start < stop or stop - start < LEAST_BYTES:
        return None
    return (start, stop) if len(body) - (stop - start) <= _MOST_BYTES else None


def _frame(body: bytes, start: int, stop: int) -> bytes:
    return b"\0".join((body[:start], body[stop:]))  # no JSON contains the byte between them


def _is_the_data(body: bytes, start: int, stop: int) -> bool:
    """Whether this list is that of the input, however often there is something called so."""
    if body.find(b"[", start + 1, stop) >= 0 or body.find(b'"', start, stop) >= 0:
        return False
    document = orjson.loads(b"".join((body[:start], b"[%r]" % _MARK, body[stop:])))
    return bool(document["inputs"][0].get("data") == [_MARK])
