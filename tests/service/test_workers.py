"""Several workers on one port: spread, replaced, told together, counted together."""

import os
import re
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from service.api.protobuf import open_inference_pb2 as pb
from tests.servers import Server, poll, start
from tests.service.bundles import convolutional, write_bundle

BODY = {"inputs": [{"name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32"}]}
BODY["inputs"][0]["data"] = [0.5] * 192


@pytest.fixture
def grpc_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, grpc_port: int) -> Iterator[Server]:
    write_bundle(tmp_path / "models")
    started = start(
        *("--models", str(tmp_path / "models"), "--workers", "2"),
        FOLDSERVE_GRPC_PORT=str(grpc_port),
        FOLDSERVE_ACCESS_LOG="1",
    )
    poll(lambda: started.status("/v2/health/ready") == 200, "readiness")
    yield started
    if started.process.poll() is None:
        status, errors = started.stop()
        assert status == 0, errors
        assert "Traceback" not in errors


def workers(server: Server) -> list[int]:
    """The processes that serve: children of the supervisor that hold a listening socket."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    pids = map(int, children.split())
    return [p for p in pids if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def infer(server: Server) -> int:
    """The status of one request on a connection of its own."""
    url = f"http://{server.address}/v2/models/tiny/infer"
    return httpx.post(url, json=BODY, timeout=30).status_code


def metrics(server: Server) -> str:
    return httpx.get(f"http://{server.address}/metrics", timeout=30).text


def log_info(url: str) -> list[bool]:
    """The setting, as 24 connections are told it."""
    return [httpx.get(url, timeout=30).json()["log_info"] for _ in range(24)]


def total(text: str, name: str) -> Counter[str]:
    """A counter by worker."""
    found = re.findall(rf'^{name}{{.*worker="(\d+)".*}} (\S+)$', text, re.MULTILINE)
    return Counter({worker: int(float(value)) for worker, value in found})


def test_connections_are_spread_and_counted_by_all(server: Server) -> None:
    for _ in range(60):
        assert infer(server) == 200
    counted = total(metrics(server), "foldserve_requests_total")
    assert counted.total() == 60
    assert min(counted["0"], counted["1"]) >= 10  # 60 fair coins: P < 1e-7
    assert all(total(metrics(server), "foldserve_requests_total") == counted for _ in range(8))
    url = f"http://{server.address}/v2/models/tiny/stats"
    for _ in range(8):
        (statistics,) = httpx.get(url, timeout=30).json()["model_stats"]
        assert statistics["inference_count"] == 60


def test_a_killed_worker_is_survived_and_replaced(server: Server) -> None:
    before = workers(server)
    assert len(before) == 2
    time.sleep(1)  # a worker that has just been started is not started again at once
    os.kill(before[0], signal.SIGKILL)
    for _ in range(30):
        assert infer(server) == 200  # those for the dead one wait for its successor
    poll(lambda: len(workers(server)) == 2, "the successor")
    assert before[1] in workers(server)
    assert set(total(metrics(server), "foldserve_requests_total")) == {"0", "1"}


def test_a_model_is_unloaded_everywhere_and_sighup_reaches_all(
    server: Server, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "models", "tiny", 2, convolutional(seed=2))
    server.process.send_signal(signal.SIGHUP)

    def loaded() -> bool:
        return metrics(server).count('foldserve_rows_total{model="tiny",version="2"') == 2

    poll(loaded, "version 2 in both workers")
    shutil.rmtree(tmp_path / "models" / "tiny" / "1")
    server.process.send_signal(signal.SIGHUP)
    poll(lambda: 'version="1"' not in metrics(server), "version 1 to be gone from both")


def test_unloading_and_loading_through_any_worker_happens_in_all(server: Server) -> None:
    def ready() -> set[int]:
        return {server.status("/v2/models/tiny/ready") for _ in range(24)}

    poll(lambda: ready() == {200}, "both workers to be ready")
    url = f"http://{server.address}/v2/repository/models/tiny"
    assert httpx.post(f"{url}/unload", timeout=30).status_code == 200
    assert ready() == {503}
    assert httpx.post(f"{url}/load", timeout=30).status_code == 200
    assert ready() == {200}


def test_workers_end_with_their_supervisor(server: Server) -> None:
    pids = workers(server)
    server.process.kill()
    server.process.communicate(timeout=30)

    def gone() -> bool:
        return not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)

    poll(gone, "the workers to end")


def test_statistics_over_grpc_are_those_of_all_workers(server: Server, grpc_port: int) -> None:
    for _ in range(60):
        assert infer(server) == 200
    counted = total(metrics(server), "foldserve_requests_total")
    assert min(counted["0"], counted["1"]) >= 10  # neither has them all
    for _ in range(8):  # each on a connection of its own, which the kernel gives to either
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options) as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelStatistics",
                request_serializer=pb.ModelStatisticsRequest.SerializeToString,
                response_deserializer=pb.ModelStatisticsResponse.FromString,
            )
            (entry,) = ask(pb.ModelStatisticsRequest(name="tiny"), timeout=30).model_stats
        assert (entry.name, entry.version, entry.inference_count) == ("tiny", "1", 60)
        assert entry.inference_stats.success.count == 60


def test_what_is_logged_is_changed_in_all_workers_and_their_successors(server: Server) -> None:
    url = f"http://{server.address}/v2/logging"

    def change(**fields: bool) -> None:
        assert httpx.post(url, json=fields, timeout=30).status_code == 200

    def visit(name: str) -> None:
        for _ in range(40):  # each on a connection of its own; 40 fair coins: P < 1e-11
            server.status(f"/{name}")

    def both_answer() -> bool:
        visit("before")
        metrics = httpx.get(f"http://{server.address}/metrics", timeout=30).text
        return len(set(re.findall(r'responses_total\{status="404",worker="(\d)"', metrics))) == 2

    poll(both_answer, "both workers to answer")
    change(log_info=False)
    assert not any(log_info(url))
    visit("silent")
    time.sleep(1)  # a worker that has just been started is not started again at once
    before = workers(server)
    os.kill(before[0], signal.SIGKILL)
    poll(lambda: len(set(workers(server)) - set(before)) == 1, "the successor")
    poll(lambda: not any(log_info(url)), "the successor to be told")
    visit("later")
    change(log_info=True)
    visit("after")
    status, log = server.stop()
    assert status == 0, log

    def logged_by(name: str) -> set[str]:
        return set(re.findall(rf"INFO (\d+) service\.access: .*/{name}' 404", log))

    assert len(logged_by("before")) == len(logged_by("after")) == 2, log
    assert logged_by("silent") == logged_by("later") == set()
