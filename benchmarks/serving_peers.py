"""The servers beside which ours is measured, each started as its own documentation shows.

    python benchmarks/serving_peers.py PEER NETWORK.onnx PORT

PEER is fastapi (a tutorial's FastAPI + ONNX Runtime), litserve, mosec, or nothing (uvicorn with an
application that answers without doing anything: the limit of the HTTP server).
"""

import sys
from typing import Any

import numpy as np


def fastapi(model: str, port: int) -> None:
    """One run a request, in FastAPI's own thread pool, pydantic for the body."""
    import onnxruntime as ort
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    session = ort.InferenceSession(model)
    app = FastAPI()

    class Body(BaseModel):
        data: list[Any]

    @app.post("/predict")
    def predict(body: Body) -> dict[str, Any]:
        (scores,) = session.run(None, {"x": np.array(body.data, np.float32)})
        return {"y": scores.tolist()}

    predict.__globals__["Body"] = Body
    uvicorn.run(app, port=port, log_level="error")


def litserve(model: str, port: int) -> None:
    """LitServe with batches of up to 32, and no delay."""
    import litserve as ls
    import onnxruntime as ort

    class Api(ls.LitAPI):
        def setup(self, device: str) -> None:
            self.session = ort.InferenceSession(model)

        def decode_request(self, request: dict[str, Any]) -> Any:
            return np.array(request["data"], np.float32)

        def batch(self, inputs: list[Any]) -> Any:
            return np.concatenate(inputs)

        def predict(self, x: Any) -> Any:
            return self.session.run(None, {"x": x})[0]

        def unbatch(self, output: Any) -> Any:
            return list(output)

        def encode_response(self, output: Any) -> dict[str, Any]:
            return {"y": output.tolist()}

    server = ls.LitServer(Api(max_batch_size=32, batch_timeout=0.0), accelerator="cpu")
    server.run(port=port, generate_client_file=False, log_level="error")


def mosec(model: str, port: int) -> None:
    """mosec with batches of up to 32."""
    sys.argv = ["mosec", "--port", str(port)]
    import onnxruntime as ort
    from mosec import Server, Worker

    class Inference(Worker):
        def __init__(self) -> None:
            super().__init__()
            self.session = ort.InferenceSession(model)

        def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
            x = np.concatenate([np.array(item["data"], np.float32) for item in data])
            return [{"y": row.tolist()} for row in self.session.run(None, {"x": x})[0]]

    server = Server()
    server.append_worker(Inference, num=1, max_batch_size=32, max_wait_time=1)
    server.run()


def nothing(_: str, port: int) -> None:
    """Reads the body, and answers two bytes."""
    import uvicorn

    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(head)
        await send({"type": "http.response.body", "body": b"{}"})

    uvicorn.run(app, port=port, log_level="error", lifespan="off")


PEERS = {"fastapi": fastapi, "litserve": litserve, "mosec": mosec, "nothing": nothing}
PATHS = {"fastapi": "/predict", "litserve": "/predict", "mosec": "/inference", "nothing": "/"}

if __name__ == "__main__":
    PEERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
