"""How fast the service is beside other servers and beside the limits, all in one run.

    python benchmarks/serving.py [--networks tiny,mlp,resnet-18] [--rounds 5] [--seconds 2]
        [--peers FastAPI,LitServe,mosec,Triton,uvicorn] [--python INTERPRETER] [--plot FILE.png]

Load comes from `wrk` on the same machine. Every round measures every server once, in turn, so
that whatever else the machine does meets all alike; the tables have medians of the rounds. Each
peer runs in the settings of `serving_peers`, and ours is held against the one that was best in the
column. INTERPRETER has peers that this one lacks; what cannot be imported is left out. Run it on a
machine that does nothing else.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import onnxruntime as ort  # noqa: E402
import serving_table as table  # noqa: E402
from serving_load import Request, bare, closed_loop, open_loop  # noqa: E402
from serving_networks import Network, write_networks  # noqa: E402
from serving_peers import OURS, PEERS, Peer  # noqa: E402

from service.threads import available_cpus  # noqa: E402

_START_S, _WAKING_S = 90, 0.2
_RATE = 500
_SWEEP = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Target:
    """A server that listens, in a group of processes of its own."""

    peer: Peer
    port: int
    group: int

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Servers sleep while others are measured: some are busy even when nobody asks."""
        os.killpg(self.group, signal.SIGCONT)
        time.sleep(_WAKING_S)
        try:
            yield
        finally:
            self.sleep()

    def sleep(self) -> None:
        """Stops its processes."""
        if self.peer.sleeps:
            os.killpg(self.group, signal.SIGSTOP)


@contextmanager
def served(peer: Peer, command: list[str], port: int) -> Iterator[Target | None]:
    """The server of a command, asleep; None when it does not come up."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        target = Target(peer, port, process.pid) if answers(process, port) else None
        if target is not None:
            target.sleep()
        yield target
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
            process.terminate()
            process.wait(30)
        with suppress(ProcessLookupError):  # what it has left behind
            os.killpg(process.pid, signal.SIGKILL)


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until a server does; False when it ends, or takes too long."""
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


@contextmanager
def all_served(
    folder: Path, network: Network, arguments: argparse.Namespace
) -> Iterator[list[Target]]:
    """Ours and the peers asked for, listening."""
    chosen = arguments.peers.split(",")
    with ExitStack() as stack:
        targets = []
        for number, peer in enumerate([OURS, *(peer for peer in PEERS if peer.name in chosen)]):
            port = arguments.port + number
            python = sys.executable if peer is OURS else arguments.python
            command = peer.command(python, folder / f"{network.name}.onnx", port)
            if target := stack.enter_context(served(peer, command, port)):
                targets.append(target)
            else:
                print(f"{peer.name} ({peer.setting}): did not start, left out", file=sys.stderr)
        yield targets


def measure(
    folder: Path, network: Network, targets: list[Target], arguments: argparse.Namespace
) -> table.Found:
    """All servers at all numbers of clients, round after round."""
    found: table.Found = defaultdict(list)
    file, threads = folder / f"{network.name}.onnx", available_cpus()
    for number in range(arguments.rounds):
        print(f"{network.name}: round {number + 1} of {arguments.rounds}", file=sys.stderr)
        for clients in network.clients:
            for target in targets:
                for form in target.peer.forms:
                    request = request_to(folder, network, target, form)
                    with target.awake():
                        result = closed_loop(request, clients, arguments.seconds)
                    found[table.Column(clients, form), target.peer].append(result)
            for parallel in (False, True):
                rate = bare(file, network.row, parallel, threads, arguments.seconds)
                found[table.Column(clients, "–"), table.LIMITS[parallel]].append(table.limit(rate))
    return found


def request_to(folder: Path, network: Network, target: Target, form: str) -> Request:
    """What the server is sent."""
    kind, path = target.peer.forms[form], target.peer.path.format(model=network.name)
    files = [folder / f"{network.name}.{kind}{end}" for end in (".lua", "")]
    headers = network.headers(folder, kind)
    return Request(f"http://127.0.0.1:{target.port}{path}", *files, headers)


def at_a_rate(
    folder: Path, network: Network, target: Target, arguments: argparse.Namespace
) -> list[str]:
    """Latency at a fixed rate, for each form."""
    rows = []
    for form in target.peer.forms:
        request = request_to(folder, network, target, form)
        log = folder / "rate.log"
        seconds = 2 * arguments.seconds
        with target.awake():
            results = [open_loop(request, _RATE, seconds, log) for _ in range(arguments.rounds)]
        rows.append(table.rate_row(network.name, _RATE, form, results))
    return rows


def sweep(folder: Path, network: Network, targets: list[Target], seconds: int) -> table.Found:
    """All servers from one client to many, once each."""
    found: table.Found = defaultdict(list)
    for clients in _SWEEP:
        for target in targets:
            for form in target.peer.forms:
                request = request_to(folder, network, target, form)
                with target.awake():
                    result = closed_loop(request, clients, seconds)
                found[table.Column(clients, form), target.peer].append(result)
    return found


def arguments_of(command_line: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", default="tiny,mlp,resnet-18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--peers", default="FastAPI,LitServe,mosec,Triton,uvicorn")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--plot", type=Path, help="throughput and p99 of the first network")
    parser.add_argument(
        "--port", type=int, default=8300, help="the first of the ports that are used"
    )
    return parser.parse_args(command_line)


def main() -> None:
    """Prints Markdown."""
    arguments = arguments_of()
    print(
        f"{date.today()}, {platform.machine()}, {available_cpus()} processors, ONNX Runtime "
        f"{ort.__version__}, Python {platform.python_version()}; medians of {arguments.rounds} "
        f"rounds of {arguments.seconds} s, client on the same processors\n"
    )
    every, best, rates = [], [], list[str]()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        networks = write_networks(folder, set(arguments.networks.split(",")))
        for network in networks:
            with all_served(folder, network, arguments) as targets:
                found = measure(folder, network, targets, arguments)
                if network.rated:
                    rates += at_a_rate(folder, network, targets[0], arguments)
                if arguments.plot and network is networks[0]:
                    swept = sweep(folder, network, targets, 1)
                    table.plot(swept, network.name, arguments.plot)
            every += table.rows(network.name, found)
            best += table.against_best(network.name, found)
    print("\n".join([*table.head_of_best(), *best, ""]))
    if rates:
        print("\n".join([*table.head_of_rates(), *rates, ""]))
    print("\n".join([*table.head(), *every]))


if __name__ == "__main__":
    main()
