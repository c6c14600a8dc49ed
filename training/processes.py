"""Several processes that train one network: mini-batches are shared out, gradients summed.

    with gathered(2, work, (config, data, folder)) as team: …

The leader is the process of the caller; the others are started here and connected over the loopback
device, or torchrun has started them all. With synchronized batch normalization the sums are those
of one process on the joined batch.
"""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import get_context

from training.errors import UnusableInput, WorkerLost

# A process that answers nobody for so long is taken for lost.
TIMEOUT = timedelta(minutes=10)
# How long a process that closed its connection may take to end, in seconds.
ENDING = 5.0
_INTERFACE = "GLOO_SOCKET_IFNAME"


@dataclass(frozen=True, slots=True)
class Team:
    """The place of this process among those that train; one alone by default."""

    rank: int = 0
    size: int = 1

    def share(self, count: int) -> slice:
        """The rows of a mini-batch of `count` that are this process's, as even as can be."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def add_up(self, network: nn.Module, figures: Tensor) -> Tensor:
        """Sums the gradients over all processes, in place, and `figures` [k] with them."""
        if self.size == 1:
            return figures
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([figures.to(torch.float32), *[grad.flatten() for grad in grads]])
        dist.all_reduce(flat)
        parts = torch.split(flat, [len(figures), *[grad.numel() for grad in grads]])
        for grad, total in zip(grads, parts[1:], strict=True):
            grad.copy_(total.view(grad.shape))
        return parts[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()


def is_worker() -> bool:
    """Whether torchrun has started this process, and not as the first."""
    return dist.is_torchelastic_launched() and int(os.environ["RANK"]) > 0


@contextmanager
def gathered(count: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Team]:
    """A team of `count` processes led by this one, or that which torchrun has started.

    The others run work(team, *arguments). Raises WorkerLost when one of them ends early; all are
    ended, and the team is dissolved, on leaving.
    """
    if dist.is_torchelastic_launched():
        with _joined("env://", None, None) as team, _losses_told([]):
            yield team
    elif count == 1:
        yield ALONE
    else:
        with _started(count, work, arguments) as team:
            yield team


@contextmanager
def joined_by_torchrun() -> Iterator[Team]:
    """The team of a process that torchrun has started."""
    with _joined("env://", None, None) as team:
        yield team


@contextmanager
def _started(count: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Team]:
    threads, interface = torch.get_num_threads(), os.environ.get(_INTERFACE)
    each = max(1, threads // count)
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="foldserve-") as folder:
        address = (Path(folder) / "meeting").as_uri()
        os.environ.setdefault(_INTERFACE, _loopback())  # which the others inherit
        others = [
            context.Process(
                target=_run, args=(address, rank, count, each, work, arguments), daemon=True
            )
            for rank in range(1, count)
        ]
        try:
            for process in others:
                process.start()
            torch.set_num_threads(each)
            with _losses_told(others), _joined(address, 0, count) as team:
                yield team
        finally:
            torch.set_num_threads(threads)
            if interface is None:
                del os.environ[_INTERFACE]
            for process in others:
                if process.pid is not None:
                    process.kill()  # it holds nothing that the leader has not
                    process.join()


def _run(
    address: str,
    rank: int,
    count: int,
    threads: int,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(threads)
    with _joined(address, rank, count) as team:
        work(team, *arguments)


@contextmanager
def _joined(address: str, rank: int | None, count: int | None) -> Iterator[Team]:
    place = {} if rank is None else {"rank": rank, "world_size": count}
    dist.init_process_group("gloo", init_method=address, timeout=TIMEOUT, **place)  # type: ignore[arg-type]
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def _losses_told(others: Sequence[BaseProcess]) -> Iterator[None]:
    """WorkerLost for an error that comes of a process that has gone."""
    try:
        yield
    except RuntimeError as error:
        gone = _first_gone(others)
        if gone is None and not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise WorkerLost(gone or "another process has ended") from error


def _first_gone(others: Sequence[BaseProcess]) -> str | None:
    deadline = time.monotonic() + (ENDING if others else 0)
    while time.monotonic() < deadline:
        for number, process in enumerate(others, 1):
            code = process.exitcode
            if code is not None and code != 0:
                how = f"by signal {-code}" if code < 0 else f"with status {code}"
                return f"process {number} of {len(others) + 1} ended {how}"
        time.sleep(0.05)
    return None


def _loopback() -> str:
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if not names:
        raise UnusableInput("expected a loopback network device to connect processes, found none")
    return names[0]
