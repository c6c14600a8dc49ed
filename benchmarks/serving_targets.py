"""Servers as what is measured: their requests, whether they answer rightly, what befell them."""

import json
import math
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from serving_load import NOTHING, Measured, Request
from serving_networks import Network
from serving_peers import Load, Peer
from serving_servers import Server

_START_S = 180.0  # all start at once
_RETRY_S, _ASK_S = 0.3, 10.0


@dataclass
class Target:
    """A server in one setting, for one network."""

    peer: Peer
    server: Server
    requests: dict[str, Request]
    expected: NDArray[np.float32]
    network: str
    befell: list[str] = field(default_factory=list)
    out: bool = False  # not measured any more

    def ready(self, seconds: float) -> None:
        """Waits until it answers every request rightly; is out when it does not."""
        until, wrong = time.monotonic() + seconds, "no answer"
        for form, request in self.requests.items():
            while wrong := self._wrong(form, request):
                if self.server.ended or time.monotonic() > until:
                    self.note(f"{form}: {wrong}; did not start")
                    self.out = True
                    return
                time.sleep(_RETRY_S)

    def again(self) -> None:
        """Starts it anew."""
        self.server.end()
        self.server.start()
        self.out = False
        self.ready(_START_S)

    def note(self, what: str) -> None:
        """Something befell it."""
        ended = self.server.ended or "it runs"
        self.befell.append(f"{what} ({ended}); its log ends: {self.server.last_words() or '–'}")
        print(f"{self.network}, {self.peer.name}: {self.befell[-1]}", file=sys.stderr)

    def measured(self, load: Callable[[], Measured]) -> Measured:
        """What a load generator says about it, awake. One that has ended is started again."""
        if self.out:
            return NOTHING
        if self.server.ended:
            self.note("had ended, was started again")
            self.again()
        if self.out:
            return NOTHING
        with self.server.awake():
            result = load()
        if result is NOTHING:
            self.note("did not answer")
        return result

    def _wrong(self, form: str, request: Request) -> str:
        """What is wrong with the answer to a request; empty when nothing is."""
        body = request.body.read_bytes()
        asked = urllib.request.Request(request.url, body, request.headers)
        try:
            with urllib.request.urlopen(asked, timeout=_ASK_S) as response:
                answer = response.read()
            if not self.peer.answers:
                return ""
            scores = scores_of(answer, form, self.expected.size)
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        # the text has six decimals
        right = scores.shape == self.expected.shape and np.allclose(
            scores, self.expected, rtol=1e-3, atol=1e-3
        )
        return "" if right else f"answered {scores[:3]}…, expected {self.expected[:3]}…"


def scores_of(answer: bytes, form: str, count: int) -> NDArray[np.float32]:
    """The last `count` numbers of an answer, wherever a server puts them."""
    if form == "binary":
        return np.frombuffer(answer[-4 * count :], np.float32)
    return np.array(list(_numbers(json.loads(answer)))[-count:], np.float32)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float) and math.isfinite(value):
        yield value


def _expected(folder: Path, network: Network) -> NDArray[np.float32]:
    session = ort.InferenceSession(folder / f"{network.name}.onnx")
    row = np.frombuffer((folder / f"{network.name}.raw").read_bytes(), np.float32)
    (scores,) = session.run(None, {"x": row.reshape(1, *network.row)})
    return np.asarray(scores, np.float32).ravel()


def _requests(folder: Path, network: Network, peer: Peer, port: int) -> dict[str, Request]:
    url = f"http://127.0.0.1:{port}{peer.path.format(model=network.name)}"
    return {
        form: Request(
            url,
            folder / f"{network.name}.{kind}.lua",
            folder / f"{network.name}.{kind}",
            network.headers(folder, kind),
        )
        for form, kind in peer.forms.items()
    }


@contextmanager
def serving(
    folder: Path, network: Network, peers: list[Peer], pythons: dict[str, str], port: int
) -> Iterator[list[Target]]:
    """Those of the peers that have a setting for the loads of this network, answering rightly and
    asleep, or out."""
    targets = _targets(folder, network, peers, pythons, port)
    servers = list(dict.fromkeys(target.server for target in targets))
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.end)
        _start(targets, servers)
        memory = sum(server.memory_mib() for server in servers)
        print(f"{network.name}: {len(servers)} servers, {memory:.0f} MiB", file=sys.stderr)
        yield targets
        for server in servers:
            server.terminate()  # all at once; then each is waited for


def _targets(
    folder: Path, network: Network, peers: list[Peer], pythons: dict[str, str], port: int
) -> list[Target]:
    loads = [Load.of(network.large, clients) for clients in network.clients]
    expected = _expected(folder, network)
    servers: dict[tuple[str, ...], tuple[Server, int]] = {}
    targets = []
    for peer in (peer for peer in peers if any(load & peer.loads for load in loads)):
        python = pythons.get(peer.name, sys.executable)
        kind = (python, peer.script, *peer.arguments)
        if kind not in servers:
            own = port + len(servers)
            place = folder / "servers" / f"{network.name}-{len(servers)}"
            command = peer.command(python, folder / f"{network.name}.onnx", own)
            servers[kind] = Server(command, place, peer.sleeps), own
        server, own = servers[kind]
        requests = _requests(folder, network, peer, own)
        targets.append(Target(peer, server, requests, expected, network.name))
    return targets


def _start(targets: list[Target], servers: list[Server]) -> None:
    """All that sleep at once; then, in the quiet, the others, and once more what gave up."""
    sleepers = [server for server in servers if server.sleeps]
    for server in sleepers:
        server.start()
    for target in (target for target in targets if target.server.sleeps):
        target.ready(_START_S)
    for server in sleepers:
        server.sleep()
    for target in targets:
        if not target.server.starts:
            target.server.start()
        if not target.server.sleeps:
            target.ready(_START_S)
        if target.out:
            target.again()
        target.server.sleep()
