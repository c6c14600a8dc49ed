"""A tutorial's FastAPI + ONNX Runtime: `serving_fastapi.py NETWORK.onnx PORT`.

One run a request, in FastAPI's own thread pool, pydantic for the body.
"""

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
session = ort.InferenceSession(sys.argv[1])


class Body(BaseModel):
    """What a client sends."""

    data: list[Any]


@app.post("/predict")
def predict(body: Body) -> dict[str, Any]:
    """Scores."""
    (scores,) = session.run(None, {"x": np.array(body.data, np.float32)})
    return {"y": scores.tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
