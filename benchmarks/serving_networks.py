"""The networks of the serving benchmark: bundles, ONNX files for the peers, and requests."""

import json
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from service.manifest import MODEL
from training.baseline import Reference
from training.bundle import Description, write_bundle
from training.export import Signature, export
from training.networks import build

_REFERENCE_ROWS = 64  # of the baseline, so that drift is watched as in production


@dataclass(frozen=True)
class Network:
    """A network: its name, the shape of a row, how many scores, and at how many clients."""

    name: str
    row: tuple[int, ...]
    scores: int
    clients: tuple[int, ...]
    rated: bool = False  # whether latency is measured at a fixed rate, too
    large: bool = False  # whether a run takes longer than everything around it

    def module(self) -> nn.Module:
        """The network with seeded weights, in eval mode."""
        torch.manual_seed(0)
        if self.name == "resnet-18":
            return build("resnet-18").eval()
        return (_mlp() if self.name == "mlp" else _tiny()).eval()

    def headers(self, folder: Path, kind: str) -> dict[str, str]:
        """The headers of a request of this kind."""
        found: dict[str, str] = json.loads((folder / f"{self.name}.{kind}.headers").read_text())
        return found


NETWORKS = (
    Network("tiny", (1, 28, 28), 10, (1, 32, 64), rated=True),
    Network("mlp", (784,), 10, (32,)),
    Network("resnet-18", (3, 224, 224), 1000, (1, 8), large=True),
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
    """Writes bundles under `models/`, `<name>.onnx` (the folded network of the bundle, for the
    peers), and request files `<name>.<kind>` with what sends them."""
    chosen = [network for network in NETWORKS if network.name in names]
    for network in chosen:
        example = torch.zeros(1, *network.row)
        source = export(network.module(), example, Signature("x", "y"))
        rows = np.random.default_rng(1).standard_normal((_REFERENCE_ROWS, *network.row))
        reference = Reference({"x": rows.astype(np.float32)}, "what the benchmark sends")
        description = Description(network.name)
        written = write_bundle(
            source, description, folder / "models", None, reference, force=True
        )  # by force: the doctor sees that it was never trained
        shutil.copy(written.folder / MODEL, folder / f"{network.name}.onnx")
        _write_requests(folder, network)
    return chosen


def _write_requests(folder: Path, network: Network) -> None:
    row = np.random.default_rng(0).standard_normal((1, *network.row)).astype(np.float32)
    values = [round(float(value), 6) for value in row.ravel()]
    described: dict[str, object] = {"name": "x", "shape": list(row.shape), "datatype": "FP32"}
    size = {"binary_data_size": row.nbytes}
    head = {
        "inputs": [{**described, "parameters": size}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    plain = json.dumps({"data": np.reshape(values, row.shape).tolist()}).encode()
    described["data"] = values
    tensors = json.dumps({"inputs": [described]}).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    _write(folder / f"{network.name}.json", tensors, "application/json")
    _write(folder / f"{network.name}.bin", text + row.tobytes(), "application/octet-stream", length)
    _write(folder / f"{network.name}.plain", plain, "application/json")  # what tutorials take
    _write(folder / f"{network.name}.raw", row.tobytes(), "application/octet-stream")


def _write(file: Path, body: bytes, media: str, more: dict[str, str] | None = None) -> None:
    """The body, its headers as JSON, and a script for `wrk` that sends both."""
    headers = {"Content-Type": media, **(more or {})}
    file.write_bytes(body)
    file.with_name(f"{file.name}.headers").write_text(json.dumps(headers))
    lines = [
        'wrk.method = "POST"',
        f'wrk.body = io.open("{file}", "rb"):read("*a")',
        *(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()),
    ]
    file.with_name(f"{file.name}.lua").write_text("\n".join(lines))
