"""Run by an environment with tritonclient[grpc]: asks all that its client can ask of us.

Takes the address of the service and a key; prints one JSON object. Knows nothing of the project.
"""

import json
import sys
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

HEADERS = {"x-api-key": sys.argv[2]}


def fault(call: Any, *arguments: Any, **options: Any) -> list[str]:
    """Status and sentence of a call that has to fail."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    return ["no error", ""]


def sent(name: str, array: np.ndarray[Any, Any], datatype: str) -> Any:
    """An input."""
    found = grpc.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array)
    return found


client = grpc.InferenceServerClient(sys.argv[1])
x = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
texts = np.array([["a", "", "naïve ☃"]], dtype=object)
wanted = [grpc.InferRequestedOutput("y", class_count=2)]
options: dict[str, Any] = {"headers": HEADERS}
plain = client.infer("negative", [sent("x", x, "FP32")], request_id="7", **options)
bare = grpc.service_pb2.ModelInferRequest(model_name="negative")
typed = bare.inputs.add(name="x", datatype="FP32", shape=[1, 3])
typed.contents.fp32_contents.extend([1, 2, 3])
stub = grpc.service_pb2_grpc.GRPCInferenceServiceStub(client._channel)
by_contents = stub.ModelInfer(bare, metadata=tuple(HEADERS.items()))
found = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready("negative", **options),
    "nobody_ready": client.is_model_ready("nobody", **options),
    "metadata": client.get_server_metadata(as_json=True, **options),
    "model": client.get_model_metadata("negative", as_json=True, **options),
    "infer": [plain.get_response().id, plain.as_numpy("y").tolist()],
    "contents": np.frombuffer(by_contents.raw_output_contents[0], "<f4").tolist(),
    "texts": [
        value.decode()
        for value in client.infer("texts", [sent("x", texts, "BYTES")], **options)
        .as_numpy("y")
        .ravel()
    ],
    "classes": [
        value.decode()
        for value in client.infer(
            "negative", [sent("x", x, "FP32")], outputs=wanted, priority=1, timeout=10**7, **options
        )
        .as_numpy("y")
        .ravel()
    ],
    "statistics": client.get_inference_statistics("negative", as_json=True, **options),
    "index": client.get_model_repository_index(as_json=True, **options),
    "no_key": fault(client.get_model_metadata, "negative"),
    "nobody": fault(client.get_model_metadata, "nobody", **options),
    "shape": fault(
        client.infer, "negative", [sent("x", x[:, :2].copy(), "FP32")], request_id="9", **options
    ),
    "load": fault(client.load_model, "nobody", **options),
    "log": fault(client.get_log_settings, **options),
}
client.unload_model("texts", **options)
found["unloaded"] = client.is_model_ready("texts", **options)
client.load_model("texts", **options)
found["loaded"] = client.is_model_ready("texts", **options)
client.close()
sys.stdout.write(json.dumps(found))
