"""LitServe: `serving_litserve.py NETWORK.onnx PORT WORKERS BATCH`, without a delay.

A file of its own, because its workers import what they run by name.
"""

import os
import sys
from typing import Any

import litserve as ls
import numpy as np
from serving_session import session


class Api(ls.LitAPI):
    """JSON in and out, rows stacked."""

    def setup(self, device: str) -> None:
        """Loads the network in the worker."""
        self.session = session(os.environ["NETWORK"], int(os.environ["RUNNERS"]))

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One row."""
        return np.array(request["data"], np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        """Rows together."""
        return np.concatenate(inputs)

    def predict(self, x: Any) -> Any:
        """Scores of all."""
        return self.session.run(None, {"x": x})[0]

    def unbatch(self, output: Any) -> Any:
        """Scores of each."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """JSON."""
        return {"y": output.tolist()}


if __name__ == "__main__":
    network, port, workers, batch = sys.argv[1:]
    os.environ.update(NETWORK=network, RUNNERS=workers)
    api = Api(max_batch_size=int(batch), batch_timeout=0.0)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=int(workers))
    server.run(port=int(port), generate_client_file=False, log_level="error")
