"""uvicorn with an application that reads the body and answers two bytes: the limit of the HTTP
server: `serving_nothing.py NETWORK.onnx PORT WORKERS`."""

import sys
from typing import Any

import uvicorn

_HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads, answers."""
    while (await receive()).get("more_body"):
        pass
    await send(_HEAD)
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(
        "serving_nothing:app",
        port=int(sys.argv[2]),
        workers=int(sys.argv[3]),
        log_level="error",
        lifespan="off",
        timeout_worker_healthcheck=3600,  # it is stopped for minutes while others are measured
    )
