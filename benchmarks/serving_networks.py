"""The networks of the serving benchmark, as ONNX files and bundles, and requests for them."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.service.bundles import tensor, write_plain
from training.networks import build


@dataclass(frozen=True)
class Network:
    """A network: its name, the shape of a row, how many scores, and at how many clients."""

    name: str
    row: tuple[int, ...]
    scores: int
    clients: tuple[int, ...]

    def module(self) -> nn.Module:
        """The network with seeded weights, in eval mode."""
        torch.manual_seed(0)
        if self.name == "resnet-18":
            return build("resnet-18").eval()
        return (_mlp() if self.name == "mlp" else _tiny()).eval()


NETWORKS = (
    Network("tiny", (1, 28, 28), 10, (1, 32, 64)),
    Network("mlp", (784,), 10, (32,)),
    Network("resnet-18", (3, 224, 224), 1000, (1, 8)),
)


def _tiny() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 7 * 7, 10)),
    )


def _mlp() -> nn.Module:
    widths = (784, 100, 100, 100)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(100, 10))


def write_networks(folder: Path, names: set[str]) -> list[Network]:
    """Writes `<name>.onnx`, bundles under `models/`, and `<name>.json`, `.bin`, `.lua` requests."""
    chosen = [network for network in NETWORKS if network.name in names]
    for network in chosen:
        file = folder / f"{network.name}.onnx"
        example = torch.zeros(2, *network.row)
        free = {"x": {0: "N"}, "y": {0: "N"}}
        torch.onnx.export(
            network.module(), (example,), file, dynamo=False,
            input_names=["x"], output_names=["y"], dynamic_axes=free,
        )  # fmt: skip
        inputs = [tensor("x", "FP32", [-1, *network.row])]
        outputs = [tensor("y", "FP32", [-1, network.scores])]
        write_plain(folder / "models", network.name, file.read_bytes(), inputs, outputs)
        _write_requests(folder, network)
    return chosen


def _write_requests(folder: Path, network: Network) -> None:
    row = np.random.default_rng(0).standard_normal((1, *network.row)).astype(np.float32)
    values = [round(float(value), 6) for value in row.ravel()]
    described = {"name": "x", "shape": list(row.shape), "datatype": "FP32"}
    size = {"binary_data_size": row.nbytes}
    head = {
        "inputs": [{**described, "parameters": size}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    bodies = {
        "json": (json.dumps({"inputs": [{**described, "data": values}]}).encode(), "nil"),
        "bin": (text + row.tobytes(), f'"{len(text)}"'),
        "plain": (json.dumps({"data": row.tolist()}).encode(), "nil"),  # what tutorials take
    }
    for kind, (body, length) in bodies.items():
        (folder / f"{network.name}.{kind}").write_bytes(body)
        (folder / f"{network.name}.{kind}.lua").write_text(
            f'wrk.method = "POST"\n'
            f'wrk.body = io.open("{folder / network.name}.{kind}", "rb"):read("*a")\n'
            f'wrk.headers["Content-Type"] = '
            f'"{"application/octet-stream" if kind == "bin" else "application/json"}"\n'
            f'wrk.headers["Inference-Header-Content-Length"] = {length}\n'
        )
