"""Ray Serve: `serving_ray.py NETWORK.onnx PORT`.

Three deployments in one cluster, all at their own path: `/alone` runs one request at a time,
`/batches` up to 32 at once without a delay, `/pair` is two replicas that share the processors.
JSON and bytes by the type of the content.
"""

import os
import signal
import sys
import tempfile
from threading import Event
from typing import Any

os.environ.update(
    RAY_worker_niceness="0",
    RAY_SERVE_THROUGHPUT_OPTIMIZED="1",
    RAY_memory_monitor_refresh_ms="0",  # it ends workers when others fill the memory
)

import numpy as np
import orjson
import ray
from ray import serve
from serving_session import row_shape, session
from starlette.requests import Request
from starlette.responses import Response


class Alone:
    """A run a request."""

    def __init__(self, file: str, runners: int) -> None:
        self.session = session(file, runners)
        self.row = row_shape(self.session)

    async def __call__(self, request: Request) -> Response:
        """Scores, as the rows came."""
        body = await request.body()
        if request.headers["content-type"] == "application/json":
            scores = await self.scores(np.array(orjson.loads(body)["data"], np.float32))
            text = orjson.dumps({"y": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
            return Response(text, media_type="application/json")
        scores = await self.scores(np.frombuffer(body, np.float32).reshape(self.row))
        return Response(scores.tobytes(), media_type="application/octet-stream")

    async def scores(self, x: Any) -> Any:
        """Of one request."""
        return self.session.run(None, {"x": x})[0]


class Batches(Alone):
    """Rows of several requests in one run."""

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0)
    async def scores(self, x: list[Any]) -> list[Any]:
        """Of all."""
        return list(self.session.run(None, {"x": np.concatenate(x)})[0])


_DEPLOYMENTS = (("alone", Alone, 1), ("batches", Batches, 1), ("pair", Alone, 2))


def _target(path: str, made: type[Alone], replicas: int, file: str) -> serve.RunTarget:
    deployment = serve.deployment(
        made,
        num_replicas=replicas,
        max_ongoing_requests=100,
        # it is stopped for minutes while others are measured
        health_check_period_s=3600,
        health_check_timeout_s=3600,
    )
    return serve.RunTarget(deployment.bind(file, replicas), name=path, route_prefix=f"/{path}")


def main(file: str, port: int) -> None:
    """Serves until it is ended."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # a short path: sockets
        ray.init(
            address="local",
            num_cpus=8,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            _temp_dir=folder,
        )
        serve.start(http_options={"host": "127.0.0.1", "port": port, "access_log": False})
        serve.run_many([_target(*each, file) for each in _DEPLOYMENTS])
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        try:
            Event().wait()
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
