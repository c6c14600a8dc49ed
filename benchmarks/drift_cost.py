"""What watching for drift costs the answers: requests a second and latency, with it on and off.

    python benchmarks/drift_cost.py [--networks tiny,resnet-18] [--rounds 5] [--seconds 5]

Load comes from `wrk` on the same machine. In every round a server without the watch and one with it
as it is by default are started in turn (the other first in every second round), warmed up until the
first rows after the load are watched, and measured. The table has medians, and the median of the
ratios within the rounds. Run it on a machine that does nothing else.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from urllib.request import urlopen

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]

from serving_load import Measured, Request, closed_loop  # noqa: E402
from serving_networks import Network, write_networks  # noqa: E402

from service.threads import available_cpus  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = {"off": "0", "on": "16"}
WARM_S = 15  # until what the watch may spend at once is spent


@contextmanager
def served(models: Path, port: int, sample: str) -> Iterator[None]:
    """A server of the bundles, with or without the watch."""
    command = [sys.executable, "-m", "service", "--models", str(models), "--port", str(port)]
    environment = {**os.environ, "FOLDSERVE_DRIFT_SAMPLE": sample}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/v2/health/ready")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(OSError), urlopen(url):
            return
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def measure(folder: Path, network: Network, arguments: argparse.Namespace) -> None:
    """Prints the rows of one network."""
    models = folder / "models"
    found: dict[tuple[int, str], list[Measured]] = defaultdict(list)
    clients = (network.clients[0], network.clients[-1])
    url = f"http://127.0.0.1:{arguments.port}/v2/models/{network.name}/infer"
    files = [folder / f"{network.name}.bin{end}" for end in (".lua", "")]
    request = Request(url, *files, network.headers(folder, "bin"))
    for number in range(arguments.rounds):
        for state in sorted(SAMPLES, reverse=bool(number % 2)):
            with served(models, arguments.port, SAMPLES[state]):
                closed_loop(request, clients[-1], min(WARM_S, 3 * arguments.seconds))
                for count in clients:
                    result = closed_loop(request, count, arguments.seconds)
                    found[count, state].append(result)
    for count in clients:
        off, on = found[count, "off"], found[count, "on"]
        pairs = list(zip(on, off, strict=True))
        cells = [
            *(f"{median(one.per_s for one in side):.0f}" for side in (off, on)),
            _range([a.per_s / b.per_s for a, b in pairs]),
            *(f"{median(one.p50_ms for one in side):.3g}" for side in (off, on)),
            _range([a.p50_ms / b.p50_ms for a, b in pairs]),
            *(f"{median(one.p99_ms for one in side):.3g}" for side in (off, on)),
            str(sum(one.errors for one in (*off, *on))),
        ]
        print(f"| {network.name} | {count} | {' | '.join(cells)} |", flush=True)


def _range(ratios: list[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", default="tiny,resnet-18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--port", type=int, default=8390)
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {available_cpus()} processors, binary tensors, medians of "
        f"{arguments.rounds} rounds of {arguments.seconds} s, client on the same processors\n"
    )
    columns = (
        *("network", "clients", "requests/s off", "on", "on ÷ off (lowest–highest)"),
        *("p50 ms off", "on", "on ÷ off", "p99 ms off", "on", "errors"),
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as made:
        for network in write_networks(Path(made), set(arguments.networks.split(","))):
            measure(Path(made), network, arguments)


if __name__ == "__main__":
    main()
