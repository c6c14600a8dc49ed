"""How many processors the process may use, as the kernel has it; and what a hand-over costs.

ONNX Runtime sizes its pool to the machine. In a container the quota of the group decides: more
threads than that are stopped by the scheduler for most of each period.
"""

import os
import sys
from concurrent.futures import Executor
from pathlib import Path
from time import perf_counter

_TRIALS = 30


def hand_over_seconds(executor: Executor) -> float:
    """What it costs under load to have another thread do nothing, and to go on with its result.

    Measured idle, it is some tens of microseconds. But a thread that comes back while the event
    loop is busy asks for the interpreter, and gets it after the switch interval; half of that is
    what it waits on average.
    """
    best = float("inf")
    for _ in range(_TRIALS):
        began = perf_counter()
        executor.submit(_nothing).result()
        best = min(best, perf_counter() - began)
    return best + sys.getswitchinterval() / 2


def _nothing() -> None:
    pass


def available_cpus(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Processors that this process may use: its affinity and its cgroup quota, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [quota for folder in _cgroups(root, membership) if (quota := _quota(folder))]
    return max(1, int(min([float(cpus or 1), *quotas])))


def _cgroups(root: Path, membership: Path) -> list[Path]:
    """The folders that may hold a quota: the process's group and its ancestors, v2 and v1."""
    found = [root, root / "cpu"]
    for line in (_text(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        group = base / path.strip("/")
        found += [group, *(folder for folder in group.parents if folder.is_relative_to(base))]
    return found


def _quota(folder: Path) -> float | None:
    """Processors' worth of time that the group may use; None where it is not limited."""
    v2 = _text(folder / "cpu.max")
    limit, period = (v2 or "max 100000").split()
    if v2 is None:
        limit = _text(folder / "cpu.cfs_quota_us") or "-1"
        period = _text(folder / "cpu.cfs_period_us") or "100000"
    if limit.strip() == "max" or int(limit) <= 0 or int(period) <= 0:
        return None
    return int(limit) / int(period)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return None
