"""mosec: `serving_mosec.py NETWORK.onnx PORT json|binary WORKERS BATCH`.

Binary is rows as they lie in memory, both ways. Batches of 1 are batching switched off. A file of
its own, because its workers import what they run by name.
"""

import os
import sys
from typing import Any

import numpy as np
import orjson
from mosec import Server, Worker
from serving_session import row_shape, session


class Inference(Worker):
    """Rows stacked; JSON in and out by the parser that ours uses, too."""

    def __init__(self) -> None:
        super().__init__()
        self.session = session(os.environ["NETWORK"], int(os.environ["RUNNERS"]))
        self.row = row_shape(self.session)

    def forward(self, data: Any) -> Any:
        """Scores of all."""
        if not isinstance(data, list):
            return self.session.run(None, {"x": data})[0]
        return list(self.session.run(None, {"x": np.concatenate(data)})[0])


class Json(Inference):
    """Numbers as text."""

    def deserialize(self, data: bytes) -> Any:
        """A row."""
        return np.array(orjson.loads(data)["data"], np.float32)

    def serialize(self, data: Any) -> bytes:
        """Scores."""
        return orjson.dumps({"y": data}, option=orjson.OPT_SERIALIZE_NUMPY)


class Binary(Inference):
    """Numbers as they are."""

    def deserialize(self, data: bytes) -> Any:
        """A row."""
        return np.frombuffer(data, np.float32).reshape(self.row)

    def serialize(self, data: Any) -> bytes:
        """Scores."""
        return bytes(data.tobytes())


if __name__ == "__main__":
    network, port, form, workers, batch = sys.argv[1:]
    os.environ.update(NETWORK=network, RUNNERS=workers)
    sys.argv = ["mosec", "--port", port, "--log-level", "error"]
    sys.argv += ["--timeout", "60000"]  # a request that waits longer than 3 s would be refused
    server = Server()
    worker = Json if form == "json" else Binary
    server.append_worker(worker, num=int(workers), max_batch_size=int(batch), max_wait_time=1)
    server.run()
