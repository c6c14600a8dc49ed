"""The rows that wait for a run: in order, by shape, each number known at any time."""

from bisect import insort
from operator import attrgetter

from service.batch import Part, Request

_ORDER = attrgetter("order")


class _Queue:
    __slots__ = ("requests", "rows")

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.rows = 0


class Waiting:
    """Requests with rows that no run has taken: a queue for each shape, the first to run first."""

    def __init__(self) -> None:
        self._queues: dict[tuple[object, ...], _Queue] = {}
        self.rows = 0

    @property
    def shapes(self) -> int:
        """How many different shapes wait."""
        return len(self._queues)

    def requests(self) -> list[Request]:
        """All that wait."""
        return [request for queue in self._queues.values() for request in queue.requests]

    def add(self, request: Request) -> None:
        """Puts a request behind those that sort before it."""
        queue = self._queues.get(request.shape)
        if queue is None:
            queue = self._queues[request.shape] = _Queue()
        insort(queue.requests, request, key=_ORDER)
        queue.rows += request.rows
        self.rows += request.rows

    def remove(self, request: Request) -> None:
        """Takes out a request with the rows that it still has waiting, if any."""
        left = request.rows - request.taken
        if left:
            self._queues[request.shape].requests.remove(request)
            self._taken(request, left)

    def drop_expired(self, now: int) -> list[Request]:
        """Takes out, of those that would run next, the requests whose time is over."""
        expired = []
        while self._queues and (first := self._next().requests[0]).deadline <= now:
            self.remove(first)
            expired.append(first)
        return expired

    def next_rows(self) -> tuple[int, int]:
        """Of the shape that is next: how many rows wait, and since when the longest does."""
        queue = self._next()
        return queue.rows, min(request.arrived for request in queue.requests[:64])

    def take(self, rows: int, now: int) -> tuple[list[Part], list[Request]]:
        """Up to `rows` rows of the shape that is next, and requests whose time was over."""
        queue = self._next()
        parts: list[Part] = []
        expired: list[Request] = []
        while rows and queue.requests:
            request = queue.requests[0]
            if request.deadline <= now:
                self.remove(request)
                expired.append(request)
                continue
            count = min(request.rows - request.taken, rows)
            parts.append(Part(request, request.taken, request.taken + count))
            if request.taken + count == request.rows:
                queue.requests.pop(0)
            self._taken(request, count)
            rows -= count
        return parts, expired

    def _taken(self, request: Request, count: int) -> None:
        request.taken += count
        self.rows -= count
        queue = self._queues[request.shape]
        queue.rows -= count
        if not queue.requests:
            del self._queues[request.shape]

    def _next(self) -> _Queue:
        if len(self._queues) == 1:
            return next(iter(self._queues.values()))
        return min(self._queues.values(), key=lambda queue: queue.requests[0].order)
