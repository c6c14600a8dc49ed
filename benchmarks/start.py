"""How long the service takes to start, and how much memory it holds, with the shipped bundles.

    python benchmarks/start.py [--starts 10] [--requests 10000] [--models models]

Starts `python -m service` on a free port, once to have its files in the system's cache and then as
often as asked, with one worker and with two in turn. Prints medians: seconds from the start until
it is ready and until the first prediction has come, and the memory of the processes that serve,
resident (RSS) and with what is shared counted in parts (PSS), when ready and after requests.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.servers import address_of, ending_processes, poll, spawn  # noqa: E402

WORKERS, CLIENTS = (1, 2), 8
READY, INFER = "/v2/health/ready", "/v2/models/mnist-cnn/infer"
TENSOR = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.5] * 784}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
COLUMNS = ("ready s", "prediction s", "RSS MB", "PSS MB", "RSS MB after", "PSS MB after")


def ask(port: int, times: int = 1) -> bool:
    """Whether that many predictions came, over one connection."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for _ in range(times):
            connection.request("POST", INFER, BODY)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                return False
    return True


def ready(port: int) -> bool:
    """Whether the service is ready; False also before it takes connections."""
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", READY)
            return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False


def memory(pid: int, workers: int) -> tuple[float, float]:
    """RSS and PSS in MB (10⁶ bytes), the mean of the processes that serve."""
    pids = [pid]
    if workers > 1:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        command = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
        pids = [child for child, line in command.items() if b"spawn_main" in line]
        assert len(pids) == workers, command
    found = []
    for process in pids:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        kib = {name: int(value) for name, value, *_ in map(str.split, lines)}
        found.append((kib["Rss:"], kib["Pss:"]))
    rss, pss = (sum(values) / len(values) * 1024 / 1e6 for values in zip(*found, strict=True))
    return rss, pss


def measure(models: str, workers: int, requests: int) -> list[float]:
    """One start: the columns of the table."""
    with ending_processes():
        began = time.perf_counter()
        process = spawn("--port", "0", "--models", models, "--workers", str(workers))
        port = int(address_of(process).rpartition(":")[2])
        poll(lambda: ready(port), "readiness")
        ready_s = time.perf_counter() - began
        idle = memory(process.pid, workers)
        asked = time.perf_counter()
        assert ask(port), "expected a prediction"
        prediction_s = ready_s + time.perf_counter() - asked
        with ThreadPoolExecutor(CLIENTS) as executor:
            shares = [requests // CLIENTS] * CLIENTS
            assert all(executor.map(ask, [port] * CLIENTS, shares)), "expected predictions"
        return [ready_s, prediction_s, *idle, *memory(process.pid, workers)]


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--models", default="models")
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the first start compiles
    measured: dict[int, list[list[float]]] = {workers: [] for workers in WORKERS}
    for number in range(chosen.starts + 1):
        for workers in WORKERS:
            found = measure(chosen.models, workers, chosen.requests)
            if number:  # the first has brought the files into the cache
                measured[workers].append(found)
    print(f"| workers | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for workers, rows in measured.items():
        values = [median(column) for column in zip(*rows, strict=True)]
        times, sizes = values[:2], values[2:]
        cells = [f"{value:.2f}" for value in times] + [f"{value:.0f}" for value in sizes]
        print(f"| {workers} | {' | '.join(cells)} |")
    print(f"\nmedians of {chosen.starts} starts, memory after {chosen.requests} requests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
