"""Random and damaged requests against a real service on loopback: memory, statuses, survival.

    python benchmarks/fuzz_http.py [--requests 100000] [--seed 1] [--models models]

Starts `python -m service` on a free port, sends what no client should (random bytes, damaged
requests on every route, broken numbers, unknown names, compressed bombs, half a request and away),
asks after every thousand whether it still answers rightly, and prints a table: what was sent, how
often, the statuses, the memory. The status of the process is 0 when every answer was in the one
form, no answer was a 500, and memory stayed within bounds. Everything is bounded, the order is that
of the seed.
"""

import argparse
import gzip
import json
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.servers import ending_processes, poll, start  # noqa: E402

TIMEOUT_S = 20
MEMORY_MB = 200  # more than after the first thousand requests
EVERY = 1000
ENVIRONMENT = {"FOLDSERVE_LOG_LEVEL": "error", "FOLDSERVE_HEADER_TIMEOUT_S": "2"}
_TYPES = ("application/json", "image/png", "multipart/form-data; boundary=b", "text/plain", "")
_LENGTH = "Inference-Header-Content-Length"
_WORDS = [
    *(b"NaN", b"Infinity", b"-1", b"1e400", b"null", b"true", b'"', b"\\", b"{", b"}", b"[", b"]"),
    *(b"\0", b"\xff\xfe", b"9" * 400, b"inputs", b"shape", b"2147483648", b"18446744073709551616"),
]

Answer = tuple[str, bytes]


class Fuzzer:
    """Makes requests from a seed; sends each over a connection of its own or the one kept."""

    def __init__(self, port: int, seed: int, model: str, size: int) -> None:
        self.random, self.port, self.model = random.Random(seed), port, model
        self.kept: HTTPConnection | None = None
        data = [self.random.random() for _ in range(size)]
        entry = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": data}
        self.valid = json.dumps({"inputs": [entry]}).encode()
        self.picture = Path("docs/examples/seven.png").read_bytes()
        self.paths = self._paths()

    def _paths(self) -> list[tuple[str, str]]:
        answer = self.request("GET", "/openapi.json", b"", {})
        names = {"model_name": self.model, "model_version": "1", "layer": "features.1"}
        return [
            (method.upper(), re.sub(r"\{(\w+)\}", lambda m: names[m[1]], path))
            for path, methods in json.loads(answer[1])["paths"].items()
            for method in methods
            if not path.endswith("/unload")  # what is unloaded can no longer be tested
        ]

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Status and body, over one connection that is kept as long as it lasts."""
        for attempt in range(2):
            connection = self.kept or HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                self.kept = None if answer.will_close else connection
                return str(answer.status), content
            except (ConnectionError, BrokenPipeError):
                connection.close()
                self.kept = None
                if attempt:
                    return "closed", b""
        raise AssertionError

    def damaged(self, data: bytes) -> bytes:
        """The data with a few bytes replaced, removed, doubled or put in."""
        changed = bytearray(data)
        for _ in range(self.random.randint(1, 6)):
            place = self.random.randrange(len(changed) + 1)
            length = self.random.choice((1, 1, 4, 50))
            choice = self.random.random()
            if choice < 0.4:
                changed[place:place] = self.random.choice(_WORDS)
            elif choice < 0.7:
                del changed[place : place + length]
            else:
                changed[place : place + length] = self.random.randbytes(length)
        return bytes(changed)

    # The kinds of request.

    def damaged_inference(self) -> Answer:
        """A valid request, damaged."""
        path = f"/v2/models/{self.model}/infer"
        return self.request("POST", path, self.damaged(self.valid), {})

    def damaged_binary(self) -> Answer:
        """A binary tensor with a wrong length here or there."""
        size = self.random.choice((0, 1, 3135, 3136, 3137, -1, 2**40))
        head = json.loads(self.valid)
        del head["inputs"][0]["data"]
        head["inputs"][0]["parameters"] = {"binary_data_size": size}
        text = json.dumps(head).encode()
        length = self.random.choice((len(text), len(text), 0, -1, 10**9, len(text) - 1))
        content = text + self.random.randbytes(self.random.choice((3136, 3136, 0, 100)))
        path = f"/v2/models/{self.model}/infer"
        return self.request("POST", path, content, {_LENGTH: str(length)})

    def damaged_picture(self) -> Answer:
        """A picture, damaged."""
        headers = {"Content-Type": "image/png"}
        path = f"/v2/models/{self.model}/predict"
        return self.request("POST", path, self.damaged(self.picture), headers)

    def any_route(self) -> Answer:
        """Random bytes on any route, of any type."""
        method, path = self.random.choice(self.paths)
        content = self.random.randbytes(self.random.choice((0, 1, 10, 1000)))
        headers = {"Content-Type": self.random.choice(_TYPES)} if content else {}
        return self.request(method, path, content if method == "POST" else b"", headers)

    def unknown_name(self) -> Answer:
        """A model that there is not."""
        name = "".join(self.random.choices("abc-._%2e~", k=self.random.randint(1, 200)))
        path = re.sub(r"%(?![0-9a-f]{2})", "", f"/v2/models/{name}")
        return self.request("GET", path, b"", {})

    def bomb(self) -> Answer:
        """Many zeros, compressed; or what is not compressed at all."""
        content = self.random.choice((_BOMB, b"junk", gzip.compress(b"{}")[:-4]))
        path = f"/v2/models/{self.model}/infer"
        return self.request("POST", path, content, {"Content-Encoding": "gzip"})

    def random_bytes(self) -> Answer:
        """Bytes that are no request, on a connection of their own."""
        return self._raw(self.random.randbytes(self.random.randint(1, 400)) + b"\r\n\r\n")

    def damaged_head(self) -> Answer:
        """A request line and headers, damaged."""
        method, path = self.random.choice(self.paths)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        return self._raw(self.damaged(head))

    def left(self) -> Answer:
        """Half a request, and away."""
        path = f"/v2/models/{self.model}/infer"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(self.valid)}\r\n\r\n"
        whole = head.encode() + self.valid
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(whole[: self.random.randrange(len(whole))])
        return "left", b""

    def _raw(self, data: bytes) -> Answer:
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except ConnectionError:
                return "closed", b""
        head, _, content = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode("latin-1")
        return (status, content) if status.isdecimal() else ("closed", b"")


_BOMB = gzip.compress(bytes(2**28), 9)  # 256 MiB, four times the limit


def resident_mb(pid: int) -> float:
    """Memory of the process that lies in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def in_form(status: str, content: bytes) -> bool:
    """Whether an error is {"error": …}, and nothing else."""
    if not status.isdecimal() or int(status) < 400 or not content:
        return True
    try:
        return list(json.loads(content)) == ["error"]
    except ValueError:
        return False


def fuzz(
    fuzzer: Fuzzer, pid: int, requests: int
) -> tuple[Counter[tuple[str, str]], list[str], list[float]]:
    """Counts by kind and status, the faults that were found, and memory along the way."""
    kinds: list[Callable[[], Answer]] = [
        *[fuzzer.damaged_inference, fuzzer.damaged_binary, fuzzer.any_route] * 6,
        *[fuzzer.damaged_picture, fuzzer.unknown_name, fuzzer.random_bytes] * 3,
        *[fuzzer.damaged_head, fuzzer.left] * 3,
    ]
    counts: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    memories: list[float] = []
    for number in range(requests):
        kind = fuzzer.bomb if number % 500 == 0 else fuzzer.random.choice(kinds)
        status, content = kind()
        counts[kind.__name__, status] += 1
        if status == "500" or not in_form(status, content):
            faults.append(f"request {number}, {kind.__name__}: {status} {content[:200]!r}")
        if (number + 1) % EVERY == 0:
            path = f"/v2/models/{fuzzer.model}/infer"
            if fuzzer.request("POST", path, fuzzer.valid, {})[0] != "200":
                faults.append(f"after request {number}: a valid request was not answered")
            memories.append(resident_mb(pid))
            if memories[-1] > memories[0] + MEMORY_MB:
                faults.append(f"after request {number}: {memories[-1]:.0f} MB")
                break
    return counts, faults, memories


def main() -> int:
    """0 when no fault was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", default="models")
    parser.add_argument("--model", default="mnist-cnn", help="takes image FP32 [-1, 1, 28, 28]")
    chosen = parser.parse_args()
    with ending_processes():
        server = start("--models", chosen.models, **ENVIRONMENT)
        poll(lambda: server.status("/v2/health/ready") == 200, "the service to be ready")
        pid = server.process.pid
        before, began = resident_mb(pid), time.monotonic()
        fuzzer = Fuzzer(server.port, chosen.seed, chosen.model, 28 * 28)
        counts, faults, memories = fuzz(fuzzer, pid, min(chosen.requests, 10_000_000))
        elapsed, after = time.monotonic() - began, resident_mb(pid)
        status, errors = server.stop()
    if status != 0:
        faults.append(f"the service ended with status {status}: {errors[-500:]}")
    report(counts)
    total = sum(counts.values())
    print(f"\n{total} requests in {elapsed:.0f} s, seed {chosen.seed}")
    tenths = memories[:: max(1, len(memories) // 10)]
    print(f"resident memory {before:.0f} MB before, {after:.0f} MB after")
    print("along the way", *(f"{memory:.0f}" for memory in tenths))
    print(f"{len(faults)} faults", *faults[:20], sep="\n")
    return 1 if faults else 0


def report(counts: Counter[tuple[str, str]]) -> None:
    """The table of what was sent and what came."""
    print("| sent | requests | answers |\n|---|---|---|")
    for kind in sorted({kind for kind, _ in counts}):
        answers = {status: n for (k, status), n in sorted(counts.items()) if k == kind}
        listed = ", ".join(f"{status}: {n}" for status, n in answers.items())
        print(f"| {kind.replace('_', ' ')} | {sum(answers.values())} | {listed} |")


if __name__ == "__main__":
    sys.exit(main())
