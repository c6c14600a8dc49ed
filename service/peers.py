"""The workers of one service, as one of them sees the others: a question to all, answers back.

Each worker has a pipe to the supervisor, which passes messages on and understands none of them
(`service.workers`). A question is given to the handler of every worker but the one that asks.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import orjson

Handler = Callable[[dict[str, Any]], Awaitable[object]]
ALL = -1
_TIMEOUT_S = 60.0  # a question may have a model loaded


class Peers:
    """One worker's way to the others; without a pipe there are no others."""

    def __init__(self, number: int = 0, pipe: Connection | None = None) -> None:
        self.number, self._pipe = number, pipe
        self._asked = 0
        self._answers: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._sender = ThreadPoolExecutor(1, "peers")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, handler: Handler) -> None:
        """Begins to listen, on the running event loop."""
        if self._pipe is not None:
            work = (self._pipe, handler, asyncio.get_running_loop())
            threading.Thread(target=self._listen, args=work, daemon=True).start()

    async def ask(self, timeout_s: float = _TIMEOUT_S, **question: object) -> dict[int, Any]:
        """The answers of the others by number; those that do not come in time are left out."""
        if self._pipe is None:
            return {}
        self._asked += 1
        number, queue = self._asked, asyncio.Queue[dict[str, Any]]()
        self._answers[number] = queue
        self._send(to=ALL, id=number, question=question)
        found: dict[int, Any] = {}
        expected = None
        try:
            async with asyncio.timeout(timeout_s):
                while expected is None or len(found) < expected:
                    message = await queue.get()
                    expected = message.get("sent", expected)
                    if "answer" in message:
                        found[message["from"]] = message["answer"]
        except TimeoutError:
            pass  # a worker that has just died
        finally:
            del self._answers[number]
        return found

    def _send(self, **message: object) -> None:
        assert self._pipe is not None
        self._sender.submit(self._pipe.send_bytes, orjson.dumps({"from": self.number, **message}))

    def _listen(self, pipe: Connection, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while True:
                message = orjson.loads(pipe.recv_bytes())
                loop.call_soon_threadsafe(self._received, message, handler)
        except (EOFError, OSError, RuntimeError):  # the supervisor, or the event loop, is gone
            return

    def _received(self, message: dict[str, Any], handler: Handler) -> None:
        if "question" in message:
            task = asyncio.get_running_loop().create_task(self._reply(message, handler))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif queue := self._answers.get(message["id"]):
            queue.put_nowait(message)

    async def _reply(self, message: dict[str, Any], handler: Handler) -> None:
        answer = await handler(message["question"])
        self._send(to=message["from"], id=message["id"], answer=answer)
