"""BentoML: `serving_bentoml.py NETWORK.onnx PORT WORKERS BATCH`.

JSON by its typed endpoint, which can batch; bytes by an application mounted beside it, which is
faster than its files. Batches of 1 are batching switched off. Its workers import this file by name.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType
from serving_session import row_shape, session
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

_WORKERS, _BATCH = (int(os.environ.get(name, "1")) for name in ("RUNNERS", "BATCH"))
_BATCHING: dict[str, Any] = (
    {"batchable": True, "max_batch_size": _BATCH, "max_latency_ms": 1000} if _BATCH > 1 else {}
)
_raw = Starlette()


@bentoml.service(workers=_WORKERS, metrics={"enabled": False}, traffic={"timeout": 60})
@bentoml.asgi_app(_raw, path="/raw")
class Network:
    """Scores."""

    def __init__(self) -> None:
        self.session = session(os.environ["NETWORK"], _WORKERS)
        shape = row_shape(self.session)

        async def raw(request: Request) -> Response:
            x = np.frombuffer(await request.body(), np.float32).reshape(shape)
            (scores,) = await run_in_threadpool(self.session.run, None, {"x": x})
            return Response(scores.tobytes(), media_type="application/octet-stream")

        _raw.add_route("/", raw, methods=["POST"])

    @bentoml.api(**_BATCHING)
    def predict(self, data: Annotated[np.ndarray, DType("float32")]) -> np.ndarray:
        """Scores of all rows."""
        scores: np.ndarray = self.session.run(None, {"x": data})[0]
        return scores


if __name__ == "__main__":
    network, port, workers, batch = sys.argv[1:]
    os.environ.update(NETWORK=network, RUNNERS=workers, BATCH=batch, BENTOML_DO_NOT_TRACK="1")
    here = Path(__file__)
    command = [sys.executable, "-m", "bentoml", "serve", f"{here.stem}:{Network.name}"]
    os.execv(sys.executable, [*command, "--port", port, "--working-dir", str(here.parent), "-q"])
