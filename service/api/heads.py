"""Heads that were valid before: a client that sends binary tensors sends the same JSON every time.

What a head means depends on nothing but its bytes and the model, and takes longer to find out than
a small network takes to run. So it is kept, and only the tensors are looked at again.
"""

from weakref import WeakKeyDictionary

from service.api.codec import InferRequest, Message
from service.api.elements import from_bytes
from service.api.outputs import kept_answers
from service.model import Model

_MOST_BYTES = 1024  # of a head that is kept
_MOST_HEADS = 64  # of a model; a client that sends ever new ones is served without


class _Head:
    """What a head says: tensors in the order sent, the bytes of all, the request without them."""

    def __init__(self, model: Model, asked: InferRequest) -> None:
        specs = {spec.name: spec for spec in model.inputs}
        self._tensors = [
            (specs[name], sent.shape, sent.nbytes) for name, sent in asked.inputs.items()
        ]
        self.size = sum(size for _, _, size in self._tensors)
        answers = kept_answers(asked.outputs, model.outputs)
        self._rest = (asked.outputs, asked.priority, asked.timeout_s, answers)

    def decode(self, binary: memoryview) -> InferRequest:
        inputs, start = {}, 0
        for spec, shape, size in self._tensors:
            inputs[spec.name] = from_bytes(spec, shape, binary[start : start + size])
            start += size
        return InferRequest(None, inputs, *self._rest)


class Heads:
    """The heads of all models; those of a model go with it."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Model, dict[bytes, _Head]] = WeakKeyDictionary()

    def decode(self, model: Model, body: bytes, length: bytes | None) -> InferRequest | None:
        """The request, if its head is known and its tensors have the sizes told; InvalidRequest
        for what is in them. `length` is the head's, as sent."""
        known = self._known.get(model)
        if not known or length is None or not length.isdigit() or len(length) > 4:
            return None
        start = int(length)
        head = known.get(body[:start])
        if head is None or len(body) - start != head.size:
            return None
        return head.decode(memoryview(body)[start:])

    def keep(self, model: Model, body: bytes, message: Message, asked: InferRequest) -> None:
        """Keeps the head of a valid request whose tensors were all binary."""
        head = body[: len(body) - len(message.binary)]
        size = sum(array.nbytes for array in asked.inputs.values())
        texts = any(spec.datatype == "BYTES" for spec in model.inputs)
        if asked.id is not None or message.document is None or size != len(message.binary):
            return
        known = self._known.setdefault(model, {})
        if not texts and len(head) <= _MOST_BYTES and len(known) < _MOST_HEADS:
            known[head] = _Head(model, asked)
