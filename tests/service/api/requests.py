"""Requests as the protocol's text has them, written by hand."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH = "Inference-Header-Content-Length"


def images(rows: int = 1) -> NDArray[np.float32]:
    """Random input of the model `tiny`, [rows, 3, 8, 8]."""
    return np.random.default_rng(rows).standard_normal((rows, 3, 8, 8)).astype(np.float32)


def vector(**changes: Any) -> dict[str, Any]:
    """The input `x` of one row; a change to `...` leaves the key out."""
    entry = {"name": "x", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]} | changes
    return {key: value for key, value in entry.items() if value is not ...}


def body(*inputs: object, **fields: object) -> bytes:
    """A request with these inputs."""
    return json.dumps({"inputs": list(inputs), **fields}).encode()


def with_binary(head: bytes, *chunks: bytes) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with binary tensors."""
    return head + b"".join(chunks), {LENGTH: str(len(head))}
