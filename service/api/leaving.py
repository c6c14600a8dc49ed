"""Work for a client that may leave: it is cancelled when the connection is gone.

Most answers are there before it is worth asking whether anybody still waits for them, so the
question is put only after a moment.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")
_PATIENCE_S = 0.005


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; ClientDisconnect when the client left before. The body must be read."""
    worker = asyncio.current_task()
    assert worker is not None
    watch = _Watch(receive, worker)
    timer = asyncio.get_running_loop().call_later(_PATIENCE_S, watch.start)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.left:
            worker.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watch.task is not None:
            watch.task.cancel()


class _Watch:
    __slots__ = ("left", "receive", "task", "worker")

    def __init__(self, receive: Receive, worker: "asyncio.Task[Any]") -> None:
        self.receive, self.worker, self.left = receive, worker, False
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self.worker.cancel()
