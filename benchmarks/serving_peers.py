"""The servers beside which ours is measured, each started as its own documentation shows.

    python benchmarks/serving_peers.py PEER NETWORK.onnx PORT

PEER is fastapi (a tutorial's FastAPI + ONNX Runtime), or nothing (uvicorn with an application that
answers without doing anything: the limit of the HTTP server). LitServe and mosec have files of
their own.
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


PEERS = {"fastapi": fastapi, "nothing": nothing}
PATHS = {"fastapi": "/predict", "litserve": "/predict", "mosec": "/inference", "nothing": "/"}

if __name__ == "__main__":
    PEERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
