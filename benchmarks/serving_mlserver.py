"""MLServer: `serving_mlserver.py NETWORK.onnx PORT WORKERS BATCH`.

It speaks the protocol that ours speaks, without binary tensors. One worker is its own process;
more are processes beside it. Batches of 1 are batching switched off.
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from serving_session import session


class Network(MLModel):
    """Scores of the tensor `x`."""

    async def load(self) -> bool:
        """Loads the network."""
        workers = self.settings.parameters.extra["runners"]
        self.session = session(self.settings.parameters.uri, workers)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Scores of all rows."""
        tensor = payload.inputs[0]
        x = np.array(tensor.data, np.float32).reshape(tensor.shape)
        (scores,) = self.session.run(None, {"x": x})
        output = ResponseOutput(
            name="y", shape=list(scores.shape), datatype="FP32", data=scores.ravel().tolist()
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main(file: str, port: int, workers: int, batch: int) -> None:
    """Serves until it is ended."""
    several = workers if workers > 1 else 0
    server = MLServer(
        Settings(
            http_port=port,
            grpc_port=port + 1000,
            metrics_endpoint=None,
            parallel_workers=several,
            debug=False,
            gzip_enabled=False,
        )
    )
    model = ModelSettings(
        name=Path(file).stem,
        implementation=Network,
        parameters=ModelParameters(uri=file, extra={"runners": workers}),
        max_batch_size=0 if batch == 1 else batch,
        max_batch_time=0 if batch == 1 else 0.001,
    )
    await server.start([model])


if __name__ == "__main__":
    network, port, workers, batch = sys.argv[1:]
    asyncio.run(main(network, int(port), int(workers), int(batch)))
