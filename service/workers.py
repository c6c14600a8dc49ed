"""Several processes on one port: started, kept alive, stopped together, and able to talk.

Each worker accepts on a socket of its own (SO_REUSEPORT): the kernel spreads connections by their
address, so that kept-alive ones do not all land on one worker, as they can on a shared socket.
The supervisor holds all sockets open, so that connections to a worker that was killed wait for
its successor. It does nothing else that could fail: no model is loaded in it.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import orjson

from service.peers import ALL

logger = logging.getLogger(__name__)

START_FAILED = 3  # a worker's exit status when its start failed (uvicorn's STARTUP_FAILURE)
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_RESTART_S = 1.0  # between two starts of the same worker

Work = Callable[[socket.socket, int, Connection], None]


class _Worker:
    """One slot: its socket, and the process that accepts on it at present."""

    def __init__(self, number: int, sock: socket.socket, work: Work) -> None:
        self.number, self._sock, self._work = number, sock, work
        self.start()

    def start(self) -> None:
        """Starts a process, which speaks to us through a new pipe."""
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=self._work, args=(self._sock, self.number, theirs), name=f"worker-{self.number}"
        )
        self.started = time.monotonic()
        self.process.start()
        theirs.close()


class Supervisor:
    """Starts `work(socket, number, pipe)` in a process for each socket, until told to stop."""

    def __init__(self, sockets: list[socket.socket], work: Work) -> None:
        self._signals: list[int] = []
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        for number in _PASSED_ON:
            signal.signal(number, self._signalled)
        self._workers = [_Worker(number, sock, work) for number, sock in enumerate(sockets)]
        self._stopping = False

    def run(self) -> int:
        """Returns the exit status: 0 stopped as asked, 1 a worker could not start."""
        failed = False
        while not self._stopping or self._sentinels():
            ready = wait([self._wakeup, *self._pipes(), *self._sentinels()], _RESTART_S)
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
            self._pass_on_signals()
            for worker in self._workers:
                if worker.pipe in ready:
                    self._pass_on(worker)
                if worker.process.exitcode is not None and not self._stopping:
                    failed = self._replace(worker) or failed
        return int(failed)

    def _pipes(self) -> list[Connection]:
        return [worker.pipe for worker in self._workers if not worker.pipe.closed]

    def _sentinels(self) -> list[int]:
        processes = [worker.process for worker in self._workers]
        return [process.sentinel for process in processes if process.exitcode is None]

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _pass_on_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            self._stopping = self._stopping or number != signal.SIGHUP
            self._send(number)

    def _send(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.exitcode is None and worker.process.pid is not None:
                os.kill(worker.process.pid, number)

    def _replace(self, worker: _Worker) -> bool:
        """Starts a successor, but not at once after a start; True when starting is hopeless."""
        if worker.process.exitcode == START_FAILED:
            logger.error("worker %d could not start", worker.number)
            self._stopping = True
            self._send(signal.SIGTERM)
            return True
        if time.monotonic() - worker.started >= _RESTART_S:
            status = worker.process.exitcode
            logger.error("worker %d ended with status %s: replaced", worker.number, status)
            worker.pipe.close()
            worker.start()
        return False

    def _pass_on(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            worker.pipe.close()
            return
        to, number = (orjson.loads(message)[key] for key in ("to", "id"))
        if to != ALL:
            _deliver(self._workers[to], message)
            return
        others = [other for other in self._workers if other is not worker]
        sent = sum([_deliver(other, message) for other in others])
        _deliver(worker, orjson.dumps({"id": number, "sent": sent}))


def _deliver(worker: _Worker, message: bytes) -> bool:
    try:
        worker.pipe.send_bytes(message)
    except OSError:  # it has just died
        return False
    return True
