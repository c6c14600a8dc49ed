"""Run by an environment with kserve: asks all that its REST client can ask, and prints answers.

Takes the address of the service; prints one JSON object. Knows nothing of the project.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(address: str) -> dict[str, Any]:
    """The answers, by what was asked."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    x = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
    found: dict[str, Any] = {
        "live": await client.is_server_live(address),
        "ready": await client.is_server_ready(address),
        "model_ready": await client.is_model_ready(address, "negative"),
    }
    for binary in (False, True):
        sent = InferInput("x", list(x.shape), "FP32")
        sent.set_data_from_numpy(x, binary_data=binary)
        wanted = [RequestedOutput("y", parameters={"binary_data": binary})]
        request = InferRequest(
            "negative", [sent], request_id=f"id-{binary}", request_outputs=wanted
        )
        answer = await client.infer(address, request, model_name="negative")
        (output,) = answer.outputs
        found[f"infer_{binary}"] = [answer.id, output.as_numpy().tolist()]
    try:
        await client.infer(address, {"inputs": []}, model_name="nobody")
    except httpx.HTTPStatusError as error:
        found["error"] = [error.response.status_code, str(error)]
    await client.close()
    return found


sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1]))))
