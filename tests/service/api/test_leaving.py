"""A client that leaves takes its rows with it."""

import socket
from pathlib import Path

import httpx
import numpy as np
from onnx import TensorProto, helper

from tests.servers import poll, start
from tests.service.bundles import graph, tensor, write_plain

WIDTH = 1024
JSON = (
    b'{"inputs":[{"name":"x","shape":[3000,1024],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":12288000}}]}'
)


def multiplying(times: int) -> bytes:
    """x [N, 1024] through `times` products with one matrix: some milliseconds a row."""
    nodes = [helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"]) for i in range(times)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    shape: list[int | str] = ["N", WIDTH]
    same = (TensorProto.FLOAT, shape)
    return graph(nodes, {"x": same}, {"y": same}, {"w": np.eye(WIDTH, dtype=np.float32)})


def test_rows_of_a_client_that_left_are_not_run(tmp_path: Path) -> None:
    same = [tensor(name, "FP32", [-1, WIDTH]) for name in ("x", "y")]
    write_plain(tmp_path, "slow", multiplying(40), same[:1], same[1:])
    server = start("--models", str(tmp_path), FOLDSERVE_THREADS="1", FOLDSERVE_MAX_BATCH_ROWS="4")
    poll(lambda: server.status("/v2/health/ready") == 200, "readiness")
    body = np.ones((3000, WIDTH), np.float32).tobytes()
    head = (
        b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\n"
        b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
        % (len(JSON), len(JSON) + len(body))
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + JSON + body)
        poll(lambda: _metric(server.port, "foldserve_waiting_rows") > 0, "rows that wait")
    poll(lambda: _metric(server.port, "foldserve_failures_total{") == 1, "the cancellation")
    assert _metric(server.port, "foldserve_waiting_rows") == 0
    assert _metric(server.port, "foldserve_rows_total") < 3000
    status, errors = server.stop()
    assert status == 0, errors


def _metric(port: int, name: str) -> float:
    """The sum of a series."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
