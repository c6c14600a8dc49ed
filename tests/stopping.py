"""Stops a service under load, and counts what became of every request.

Clients on kept-alive connections send as fast as they are answered, until they are refused a new
connection. A request is lost when it was sent on a connection that the service had not announced
to close, and no whole answer came. Being refused a new connection is no loss.
"""

import http.client
import json
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from tests.servers import Server, ending_processes, poll, start

_DATA = [round(0.001 * i, 3) for i in range(192)]
_TENSOR = {"name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": _DATA}
BODY = json.dumps({"inputs": [_TENSOR]}).encode()
_PATH = "/v2/models/tiny/infer"
_CLIENTS = 16


def stop_under_load(models: Path, load_s: float, workers: int = 1) -> tuple[Counter[str], int, str]:
    """One service, one stop: what became of all requests, its exit status and its log."""
    flags = ("--models", str(models), "--workers", str(workers))
    with ending_processes():
        server = start(*flags, FOLDSERVE_DRAIN_DELAY_S="0.2", FOLDSERVE_LOG_LEVEL="warning")
        poll(lambda: server.status("/v2/health/ready") == 200, "readiness")
        results: Counter[str] = Counter()
        clients = [
            threading.Thread(target=_client, args=(server, results)) for _ in range(_CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(load_s)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        _, log = server.process.communicate(timeout=60)
    return results, server.process.returncode, log


def _client(server: Server, results: Counter[str]) -> None:
    """Asks until no connection is given any more."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.connect()
        except OSError:  # refused: the service has stopped, and nothing was sent
            return
        while _ask(connection, results):
            pass
        connection.close()


def _ask(connection: http.client.HTTPConnection, results: Counter[str]) -> bool:
    """One request; whether the connection may be used again."""
    try:
        connection.request("POST", _PATH, BODY)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        results[f"lost: {type(error).__name__}"] += 1
        return False
    whole = len(text) == int(answer.headers["content-length"])
    results["answered" if answer.status == 200 and whole else f"status {answer.status}"] += 1
    return answer.headers.get("connection", "").lower() != "close"
