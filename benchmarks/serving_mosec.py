"""mosec with batches of up to 32: `serving_mosec.py NETWORK.onnx PORT`.

A file of its own, because its workers import what they run by name.
"""

import os
import sys
from typing import Any

import numpy as np
import onnxruntime as ort
from mosec import Server, Worker


class Inference(Worker):
    """JSON in and out, rows stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.session = ort.InferenceSession(os.environ["NETWORK"])

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Scores of all."""
        x = np.concatenate([np.array(item["data"], np.float32) for item in data])
        return [{"y": row.tolist()} for row in self.session.run(None, {"x": x})[0]]


if __name__ == "__main__":
    os.environ["NETWORK"] = sys.argv[1]
    sys.argv = ["mosec", "--port", sys.argv[2]]
    server = Server()
    server.append_worker(Inference, num=1, max_batch_size=32, max_wait_time=1)
    server.run()
