"""How fast the service is beside other servers and beside the limits, all in one run.

    python benchmarks/serving.py [--networks tiny,mlp,resnet-18] [--rounds 5] [--seconds 3]
        [--peers fastapi,nothing] [--python INTERPRETER]

Load comes from `wrk` on the same machine. Every round measures every server once, in turn, so
that whatever else the machine does meets all alike; the table has medians of the rounds, and the
ratio of ours to each peer in the same rounds. INTERPRETER has peers that this one lacks (litserve,
mosec); a peer that cannot be imported is left out. Run it on a machine that does nothing else.
"""

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
from serving_networks import Network, write_networks  # noqa: E402
from serving_peers import PATHS  # noqa: E402

from service.threads import available_cpus  # noqa: E402

OURS, BARE = "foldserve", "bare ONNX Runtime"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_START_S = 60
_COLUMNS = (
    *("network", "clients", "server", "tensors", "requests/s", "ours (JSON) ÷ this"),
    *("p50 ms", "p99 ms", "÷ bare", "errors"),
)


@dataclass(frozen=True)
class Target:
    """A server under load: where it listens, what it takes, and in which forms."""

    name: str
    port: int
    path: str
    kinds: dict[str, str]  # column → kind of request file


@dataclass(frozen=True)
class Measured:
    """One run of wrk."""

    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def load(
    folder: Path, network: Network, target: Target, kind: str, clients: int, seconds: int
) -> Measured:
    """What wrk measures."""
    url = f"http://127.0.0.1:{target.port}{target.path.format(model=network.name)}"
    script = folder / f"{network.name}.{kind}.lua"
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    assert rate, printed
    wrong = [*re.findall(r"Non-2xx or 3xx responses: (\d+)", printed)]
    wrong += [
        n for row in re.findall(r"Socket errors: (.+)", printed) for n in re.findall(r"\d+", row)
    ]
    return Measured(
        float(rate[1]),
        _milliseconds(printed, "50%"),
        _milliseconds(printed, "99%"),
        sum(map(int, wrong)),
    )


def _milliseconds(printed: str, quantile: str) -> float:
    found = re.search(rf"{quantile}\s+([\d.]+)(us|ms|s)", printed)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def bare(file: Path, network: Network, clients: int, seconds: float) -> float:
    """Rows a second of ONNX Runtime alone: one run on all threads, or runs of one thread each."""
    threads = available_cpus()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads if clients == 1 else 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    rows = {"x": np.zeros((1, *network.row), np.float32)}
    session.run(None, rows)
    counts = [0] * (1 if clients == 1 else threads)
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
    return sum(counts) / (time.perf_counter() - began)


@contextmanager
def served(command: list[str], port: int) -> Iterator[bool]:
    """The server of a command; False when it does not come up."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield _up(process, port)
    finally:
        process.terminate()
        process.wait(30)


def _up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status < 500:
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def measure(folder: Path, network: Network, arguments: argparse.Namespace) -> list[str]:
    """The rows of the table for one network."""
    found: dict[tuple[str, str, int], list[Measured]] = defaultdict(list)
    limits: dict[int, list[float]] = defaultdict(list)
    file = folder / f"{network.name}.onnx"
    with ExitStack() as stack:
        targets = []
        for number, name in enumerate([OURS, *filter(None, arguments.peers.split(","))]):
            port = arguments.port + number
            command, path, kinds = _command(name, folder, file, port, arguments.python)
            if stack.enter_context(served(command, port)):
                targets.append(Target(name, port, path, kinds))
            else:
                print(f"{name}: did not start, left out", file=sys.stderr)
        for _ in range(arguments.rounds):
            for clients in network.clients:
                for target in targets:
                    for column, kind in target.kinds.items():
                        result = load(folder, network, target, kind, clients, arguments.seconds)
                        found[target.name, column, clients].append(result)
                limits[clients].append(bare(file, network, clients, arguments.seconds))
    return _rows(network, found, limits)


def _command(
    name: str, folder: Path, file: Path, port: int, python: str
) -> tuple[list[str], str, dict[str, str]]:
    if name == OURS:
        models = str(folder / "models")
        command = [sys.executable, "-m", "service", "--models", models, "--port", str(port)]
        return command, "/v2/models/{model}/infer", {"JSON": "json", "binary": "bin"}
    own = Path(__file__).with_name(f"serving_{name}.py")
    start = [str(own)] if own.exists() else [str(own.with_name("serving_peers.py")), name]
    return [python, *start, str(file), str(port)], PATHS[name], {"JSON": "plain"}


def _rows(
    network: Network,
    found: dict[tuple[str, str, int], list[Measured]],
    limits: dict[int, list[float]],
) -> list[str]:
    rows = []
    for (name, column, clients), results in found.items():
        ours = found[OURS, "JSON", clients]
        ratio = median(a.per_s / b.per_s for a, b in zip(ours, results, strict=True))
        share = median(r.per_s / limit for r, limit in zip(results, limits[clients], strict=True))
        figures = (
            f"{median(r.per_s for r in results):.0f}",
            f"{ratio:.2f}",
            f"{median(r.p50_ms for r in results):.2f}",
            f"{median(r.p99_ms for r in results):.2f}",
            f"{share:.2f}",
            f"{sum(r.errors for r in results)}",
        )
        place = (network.name, f"{clients}", name, column)
        rows.append(f"| {' | '.join(place + figures)} |")
    rows += [
        f"| {network.name} | {clients} | {BARE} | – | {median(values):.0f} | – | – | – | 1 | 0 |"
        for clients, values in limits.items()
    ]
    return rows


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", default="tiny,mlp,resnet-18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--peers", default="fastapi,nothing")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument(
        "--port", type=int, default=8300, help="the first of the ports that are used"
    )
    arguments = parser.parse_args()
    print(
        f"{date.today()}, {platform.machine()}, {available_cpus()} processors, ONNX Runtime "
        f"{ort.__version__}, Python {platform.python_version()}; medians of {arguments.rounds} "
        f"rounds of {arguments.seconds} s, client on the same processors\n"
    )
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    with tempfile.TemporaryDirectory() as made:
        for network in write_networks(Path(made), set(arguments.networks.split(","))):
            print("\n".join(measure(Path(made), network, arguments)), flush=True)


if __name__ == "__main__":
    main()
