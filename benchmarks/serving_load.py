"""Load on a server, from outside it: `wrk` (as much as goes) and `h2load` (so many a second); and
the networks without a server."""

import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import numpy as np
import onnxruntime as ort

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Request:
    """What is sent: `wrk`'s script, the body, headers, and where to."""

    url: str
    script: Path
    body: Path
    headers: dict[str, str]


@dataclass(frozen=True)
class Measured:
    """One run of a load generator: good answers a second, latencies, and all other outcomes."""

    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


NOTHING = Measured(0.0, float("nan"), float("nan"), 1)  # no answer at all


def closed_loop(request: Request, clients: int, seconds: int) -> Measured:
    """Each client sends its next request when it has the answer to the last: `wrk`, one thread."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    command += ["-s", str(request.script), request.url]
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    total = re.search(r"(\d+) requests in ", printed)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    if total is None or rate is None or not int(total[1]):  # nobody listens, or nobody answers
        return NOTHING
    refused = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", printed)))
    broken = [
        int(n) for row in re.findall(r"errors: (.+)", printed) for n in re.findall(r"\d+", row)
    ]
    good = 1 - refused / int(total[1])
    p50, p99 = (_milliseconds(printed, quantile) for quantile in ("50%", "99%"))
    return Measured(float(rate[1]) * good, p50, p99, refused + sum(broken))


def open_loop(request: Request, per_s: int, seconds: int, log: Path) -> Measured:
    """Requests at a fixed rate, whatever becomes of the earlier ones: `h2load`, HTTP/1.1, on ten
    connections."""
    clients = 10
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", f"-c{clients}", f"--rps={per_s // clients}", f"-D{seconds}"]
    command += ["-d", str(request.body), f"--log-file={log}"]
    for name, value in request.headers.items():
        command += ["-H", f"{name}: {value}"]
    subprocess.run([*command, request.url], capture_output=True)
    rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    if len(rows) < 2:
        return NOTHING
    times = [int(row[2]) / 1000 for row in rows]
    cuts = quantiles(times, n=100, method="inclusive")
    return Measured(len(rows) / seconds, cuts[49], cuts[98], sum(row[1] != "200" for row in rows))


def bare(
    file: Path, shape: tuple[int, ...], parallel: bool, threads: int, seconds: float
) -> Measured:
    """Rows a second of ONNX Runtime alone: one run after the other on all threads, or as many runs
    beside each other as there are threads, each on one. `shape` has the rows of a run first."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1 if parallel else threads
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    rows = {"x": np.zeros(shape, np.float32)}
    session.run(None, rows)
    counts = [0] * (threads if parallel else 1)
    until = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < until:
            session.run(None, rows)
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(counts))]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    run_ms = 1000 * took * len(counts) / sum(counts)
    return Measured(sum(counts) * shape[0] / took, run_ms, float("nan"), 0)


def _milliseconds(printed: str, quantile: str) -> float:
    found = re.search(rf"{quantile}\s+([\d.]+)(us|ms|s)", printed)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")
