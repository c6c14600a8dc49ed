"""The shortcut of inference: a request whose head came before, byte for byte, is not read again.

What a head means depends on nothing but its bytes. So where a head was parsed and admitted, and its
request answered, the next request that begins with the same bytes needs none of that: its body is
read, the network run and the answer written, without parser, task or future. Whatever is not as
usual goes the longer way, as it came.
"""

import contextvars
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response
from starlette.types import Scope

from service import logs
from service.api.codec import InferRequest
from service.api.gate import CLIENT_LEFT, REQUEST_ID, fresh_id, tags
from service.api.inference import read, respond, respond_at_once
from service.errors import FoldserveError, shorten
from service.model import Model
from service.tensors import Array

if TYPE_CHECKING:
    from service.api.hot import HotDoor

OK = 200
ENCODED = b"content-encoding"
_LENGTH = b"content-length"
# With these, what follows the head is not simply a body, or no two requests have the same head.
_UNUSUAL = frozenset({ENCODED, b"transfer-encoding", b"expect", b"upgrade", b"trailer", REQUEST_ID})
_MOST_BYTES = 4096  # of a head that is kept
_MOST_HEADS = 256  # then the oldest is forgotten for the newest

Outcome = dict[str, Array] | Exception


class Connection(Protocol):
    """Where a request came from, and its answer goes."""

    client: tuple[str, int] | None

    def answer(self, response: Response) -> None:
        """Writes the answer."""

    def answer_later(self, work: Any) -> None:
        """Writes what the work comes to."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What a head says; `length` is that of the body, in bytes."""

    name: str
    version: str | None
    path: str
    headers: Mapping[bytes, bytes]
    length: int


class Shortcut:
    """The heads that came before, and the way of the requests that begin with one."""

    def __init__(self, door: "HotDoor") -> None:
        self._door = door
        self._known: dict[bytes, _Head] = {}

    def learn(self, head: bytes, name: str, version: str | None, scope: Scope) -> None:
        """Keeps the head of a request that was admitted and answered.

        `head` is what came up to the first empty line; it has as many lines as the parser found.
        """
        headers = dict(scope["headers"])
        lines = len(scope["headers"]) + 2  # with the first, and the empty one
        usual = head.startswith(b"POST ") and head.count(b"\r\n") == lines == len(headers) + 2
        length = headers.get(_LENGTH)
        if not usual or length is None or not _UNUSUAL.isdisjoint(headers):
            return
        if len(head) <= _MOST_BYTES:
            if len(self._known) >= _MOST_HEADS:
                del self._known[next(iter(self._known))]
            self._known[head] = _Head(name, version, scope["path"], headers, int(length))

    def length(self, head: bytes) -> int | None:
        """Bytes of the body that follows a head; None for a head that is not known."""
        known = self._known.get(head)
        return None if known is None else known.length

    def take(self, head: bytes, body: bytes, connection: Connection) -> "Ride | None":
        """Begins to answer; None where that is for the longer way, which finds the words for what
        is wrong with the body."""
        known, context = self._known[head], self._door.context
        if context is None:
            return None
        started = time.perf_counter()
        try:
            model = context.registry.get(known.name, known.version)
            asked = read(context, model, known.headers, {}, body, self._door.quick)
        except FoldserveError:
            return None
        ride = Ride(self._door, connection, known, model, asked, started)
        ride.begin()
        return ride


class Ride:
    """One request on the shortcut."""

    __slots__ = (
        "_asked", "_connection", "_door", "_head", "_id", "_model", "_started", "_withdraw",
    )  # fmt: skip

    def __init__(
        self,
        door: "HotDoor",
        connection: Connection,
        head: _Head,
        model: Model,
        asked: InferRequest,
        started: float,
    ) -> None:
        self._door, self._connection, self._head = door, connection, head
        self._model, self._asked, self._started = model, asked, started
        self._id = fresh_id()
        self._withdraw: Callable[[], None] | None = None

    def begin(self) -> None:
        """Puts the request into the model's queue."""
        asked = self._asked
        try:
            self._withdraw = self._model.ask(
                asked.inputs, self._tell, priority=asked.priority, timeout_s=asked.timeout_s
            )
        except FoldserveError as error:
            self._take_time(error)

    def leave(self) -> None:
        """The client is gone; what is answered in a task is ended by that."""
        if self._withdraw is not None:
            self._withdraw()
            self._log(CLIENT_LEFT)

    def _tell(self, outcome: Outcome) -> None:
        """What became of the request; must not raise, because others share its batch."""
        self._withdraw = None
        try:
            response = self._at_once(outcome)
        except Exception as error:
            response, outcome = None, error
        if response is None:
            self._take_time(outcome)
            return
        self._connection.answer(response)
        self._model.observe(self._asked.inputs)
        self._log(OK)

    def _at_once(self, outcome: Outcome) -> Response | None:
        context = self._door.context
        if context is None or isinstance(outcome, Exception):
            return None
        response = respond_at_once(self._model, self._head.headers, self._asked, outcome)
        if response is not None:
            context.control.responses[OK] += 1
            response.raw_headers += tags(self._id)
        return response

    def _take_time(self, outcome: Outcome) -> None:
        work = self._answer(outcome)
        settled = self._door.settle(work, self._scope(), self._id, self._started)
        self._connection.answer_later(settled)

    async def _answer(self, outcome: Outcome) -> Response:
        logs.request_id.set(self._id.decode())
        if isinstance(outcome, Exception):
            raise outcome
        assert self._door.context is not None
        self._model.observe(self._asked.inputs)
        headers = self._head.headers
        return await respond(self._door.context, self._model, headers, self._asked, outcome)

    def _log(self, status: int) -> None:
        if self._door.doorkeeper.access_log:
            contextvars.copy_context().run(self._log_here, status)

    def _log_here(self, status: int) -> None:
        logs.request_id.set(self._id.decode())
        self._door.doorkeeper.log(self._scope(), status, self._started)

    def _scope(self) -> Scope:
        given = self._asked.id
        return {
            "type": "http",
            "method": "POST",
            "path": self._head.path,
            "headers": list(self._head.headers.items()),
            "client": self._connection.client,
            "state": {"given_id": given and shorten(given, 128)},
        }
