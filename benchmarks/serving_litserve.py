"""LitServe: `serving_litserve.py NETWORK.onnx PORT json|binary WORKERS BATCH`, without a delay.

Binary is rows as they lie in memory, both ways. A file of its own, because its workers import what
they run by name.
"""

import os
import sys
from typing import Annotated, Any

import litserve as ls
import numpy as np
from fastapi import Body, Response
from serving_session import row_shape, session


class Inference(ls.LitAPI):
    """Rows stacked."""

    def setup(self, device: str) -> None:
        """Loads the network in the worker."""
        self.session = session(os.environ["NETWORK"], int(os.environ["RUNNERS"]))
        self.row = row_shape(self.session)

    def batch(self, inputs: list[Any]) -> Any:
        """Rows together."""
        return np.concatenate(inputs)

    def predict(self, x: Any) -> Any:
        """Scores of all."""
        return self.session.run(None, {"x": x})[0]

    def unbatch(self, output: Any) -> Any:
        """Scores of each."""
        return list(output)


class Json(Inference):
    """Numbers as text."""

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One row."""
        return np.array(request["data"], np.float32)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Scores."""
        return {"y": output.tolist()}


class Binary(Inference):
    """Numbers as they are."""

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> Any:
        """One row."""
        return np.frombuffer(request, np.float32).reshape(self.row)

    def encode_response(self, output: Any) -> Response:
        """Scores."""
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    network, port, form, workers, batch = sys.argv[1:]
    os.environ.update(NETWORK=network, RUNNERS=workers)
    made = Json if form == "json" else Binary
    api = made(max_batch_size=int(batch), batch_timeout=0.0)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=int(workers), timeout=60)
    server.run(port=int(port), generate_client_file=False, log_level="error")
