"""LitServe with batches of up to 32 and no delay: `serving_litserve.py NETWORK.onnx PORT`.

A file of its own, because its workers import what they run by name.
"""

import os
import sys
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime as ort


class Api(ls.LitAPI):
    """JSON in and out, rows stacked."""

    def setup(self, device: str) -> None:
        """Loads the network in the worker."""
        self.session = ort.InferenceSession(os.environ["NETWORK"])

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
    os.environ["NETWORK"] = sys.argv[1]
    server = ls.LitServer(Api(max_batch_size=32, batch_timeout=0.0), accelerator="cpu")
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="error")
