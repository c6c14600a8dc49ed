"""How fast the service is beside other servers and beside the limits, all in one run.

    python benchmarks/serving.py [--peers mosec,Triton] [--networks tiny] [--quick]
        [--python mosec,LitServe=/opt/peers/bin/python] [--plot docs/images/serving.png]

Load comes from `wrk` on the same machine (and `h2load`, where a rate is given). Every round
measures every server once, in turn, so that whatever else the machine does meets all alike, while
the processes of all others are stopped; the tables have medians of the rounds. Each peer runs in
the settings of `serving_peers`, and ours is held against the one that was best in the column. A
server that ends is started again, and that is reported. Peers whose packages this interpreter
lacks need one of their own (`--python`; docs/speed.md says how they are made). Run it on a machine
that does nothing else.
"""

import argparse
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import date
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import onnxruntime as ort  # noqa: E402
import serving_table as table  # noqa: E402
from serving_load import Measured, Request, bare, closed_loop, open_loop  # noqa: E402
from serving_networks import NETWORKS, Network, write_networks  # noqa: E402
from serving_peers import NAMES, OURS, OURS_TWICE, PEERS, Load, Peer  # noqa: E402
from serving_plot import plot  # noqa: E402
from serving_targets import Target, serving  # noqa: E402

from service.threads import available_cpus  # noqa: E402

_RATE = 500
_SWEEP = (1, 4, 16, 32, 64, 128)
_BATCH = 32  # of the limits with several rows in a run


def measure(
    folder: Path, network: Network, targets: list[Target], arguments: argparse.Namespace
) -> table.Found:
    """All servers at all numbers of clients, round after round."""
    found: table.Found = defaultdict(list)
    warm(targets, max(network.clients))
    for number in range(arguments.rounds):
        for clients in network.clients:
            tell(f"{network.name}: round {number + 1} of {arguments.rounds}, {clients} clients")
            for target, form, request in at(targets, network, clients):
                result = target.measured(partial(closed_loop, request, clients, arguments.seconds))
                found[table.Column(clients, form), target.peer].append(result)
            for peer, measured in limits(folder, network, clients, arguments.seconds):
                found[table.Column(clients, "–"), peer].append(measured)
    return found


def at(targets: list[Target], network: Network, clients: int) -> list[tuple[Target, str, Request]]:
    """The servers that have a setting for this load, with each form of their requests."""
    kind = Load.of(network.large, clients)
    chosen = [target for target in targets if kind & target.peer.loads]
    return [(target, *request) for target in chosen for request in target.requests.items()]


def warm(targets: list[Target], clients: int) -> None:
    """A second of load on each, uncounted: just-in-time compilers, adaptive batches."""
    for target in targets:
        for request in target.requests.values():
            with target.server.awake():
                closed_loop(request, clients, 1)


def limits(
    folder: Path, network: Network, clients: int, seconds: float
) -> list[tuple[Peer, Measured]]:
    """ONNX Runtime alone; for several clients of a small network in batches, too."""
    file, threads = folder / f"{network.name}.onnx", available_cpus()
    several = clients > 1 and not network.large
    sizes = {1: table.LIMITS} | ({_BATCH: table.BATCH_LIMITS} if several else {})
    return [
        (peer, bare(file, (rows, *network.row), parallel, threads, seconds / len(sizes)))
        for rows, peers in sizes.items()
        for parallel, peer in zip((False, True), peers, strict=True)
    ]


def at_a_rate(
    folder: Path, network: Network, target: Target, arguments: argparse.Namespace
) -> list[str]:
    """Latency at a fixed rate, for each form."""
    seconds, log = 2 * arguments.seconds, folder / "rate.log"
    rows = []
    for form, request in target.requests.items():
        results = [
            target.measured(partial(open_loop, request, _RATE, seconds, log))
            for _ in range(arguments.rounds)
        ]
        rows.append(table.rate_row(network.name, _RATE, form, results))
    return rows


def sweep(found: table.Found, network: Network, targets: list[Target], seconds: int) -> table.Found:
    """What was found, and the numbers of clients between, once each."""
    swept: table.Found = defaultdict(list, found)
    for clients in (clients for clients in _SWEEP if clients not in network.clients):
        tell(f"{network.name}: {clients} clients, for the plot")
        for target, form, request in at(targets, network, clients):
            result = target.measured(partial(closed_loop, request, clients, seconds))
            swept[table.Column(clients, form), target.peer].append(result)
    return swept


def tell(what: str) -> None:
    """How far it is."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def versions(peers: list[Peer], pythons: dict[str, str]) -> str:
    """Of the peers' packages, as their interpreters have them."""
    said = []
    for name, package in dict.fromkeys((peer.name, peer.package) for peer in peers if peer.package):
        ask = f"from importlib.metadata import version; print(version({package!r}))"
        command = [pythons.get(name, sys.executable), "-c", ask]
        done = subprocess.run(command, capture_output=True, text=True)
        said.append(f"{package} {done.stdout.strip() or 'is not there'}")
    return ", ".join(dict.fromkeys(said))


def processor() -> str:
    """Its name, as the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def interpreters(given: list[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """The interpreter of each server that has one of its own."""
    pythons = {}
    for option in given:
        names, _, path = option.partition("=")
        every = (OURS.name, *NAMES)
        unknown = set(names.split(",")) - set(every)
        if unknown or not path:
            parser.error(f"--python {option}: expected {'|'.join(every)}=INTERPRETER")
        pythons.update(dict.fromkeys(names.split(","), path))
    if OURS.name in pythons:
        pythons[OURS_TWICE.name] = pythons[OURS.name]
    return pythons


def arguments_of(command_line: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    every = [network.name for network in NETWORKS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", default=",".join(every), help="default: %(default)s")
    parser.add_argument("--peers", default=",".join(NAMES), help="default: %(default)s")
    parser.add_argument("--python", action="append", default=[], metavar="SERVER,…=INTERPRETER")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=2, help="of each load: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="of the first network")
    parser.add_argument("--port", type=int, default=8300, help="the first: %(default)s")
    arguments = parser.parse_args(command_line)
    if arguments.quick:
        arguments.rounds = arguments.seconds = 1
    for names, known in ((arguments.networks, every), (arguments.peers, ["", *NAMES])):
        if unknown := set(names.split(",")) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    arguments.pythons = interpreters(arguments.python, parser)
    return arguments


def main() -> None:
    """Prints Markdown."""
    arguments = arguments_of()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # and the servers, too
    chosen = arguments.peers.split(",")
    peers = [OURS, OURS_TWICE, *(peer for peer in PEERS if peer.name in chosen)]
    tables = table.Tables()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        networks = write_networks(folder, set(arguments.networks.split(",")))
        for network in networks:
            tell(f"{network.name}: starting")
            with serving(folder, network, peers, arguments.pythons, arguments.port) as targets:
                there = [target for target in targets if not target.out]
                found = measure(folder, network, there, arguments)
                if network.rated:
                    tables.rates += at_a_rate(folder, network, targets[0], arguments)
                if arguments.plot and network is networks[0]:
                    plot(sweep(found, network, there, 1), network.name, arguments.plot)
            tables.add(network.name, found)
            tables.add_servers(network.name, targets)
    print(
        f"{date.today()}, {processor()}, {available_cpus()} processors, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, ONNX Runtime "
        f"{ort.__version__}, {versions(peers, arguments.pythons)}; medians of {arguments.rounds} "
        f"rounds of {arguments.seconds} s, client on the same processors\n"
    )
    print(tables)


if __name__ == "__main__":
    main()
