"""Real bundles, small and made without PyTorch: graphs by onnx.helper, statistics by NumPy."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE, CHANNELS, LABELS = 8, 3, ("ant", "bee", "cat", "dog")
FILTERS = 5
LAYER = "features.1"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

Shape = Sequence[int | str]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
    constants: Mapping[str, NDArray[Any]] | None = None,
    domain: str | None = None,
) -> bytes:
    """An ONNX file; `domain` declares an operator set of somebody else's."""
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, t, list(s)) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, list(s)) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    sets = [helper.make_opsetid("", 17)]
    if domain:
        sets.append(helper.make_opsetid(domain, 1))
    serialized: bytes = helper.make_model(
        made, opset_imports=sets, ir_version=9
    ).SerializeToString()
    return serialized


def convolutional(batch: int | str = "N", seed: int = 0) -> bytes:
    """image [N, 3, 8, 8] → Conv, ReLU, GlobalAveragePool, Gemm → scores [N, 4]."""
    rng = np.random.default_rng(seed)
    return graph(
        [
            helper.make_node("Conv", ["image", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "v", "d"], ["scores"]),
        ],
        {"image": (TensorProto.FLOAT, [batch, CHANNELS, SIZE, SIZE])},
        {"scores": (TensorProto.FLOAT, [batch, len(LABELS)])},
        {
            "w": rng.standard_normal((FILTERS, CHANNELS, 3, 3)).astype(np.float32),
            "b": rng.standard_normal(FILTERS).astype(np.float32),
            "v": rng.standard_normal((FILTERS, len(LABELS))).astype(np.float32),
            "d": rng.standard_normal(len(LABELS)).astype(np.float32),
        },
    )


def elementwise(
    operator: str,
    datatype: int = TensorProto.FLOAT,
    shape: Shape = ("N", 3),
    inputs: Sequence[str] = ("x",),
) -> bytes:
    """One operator over `inputs` of one shape and type, to `y` of the same."""
    return graph(
        [helper.make_node(operator, list(inputs), ["y"])],
        dict.fromkeys(inputs, (datatype, shape)),
        {"y": (datatype, shape)},
    )


def tensor(name: str, datatype: str, shape: Sequence[int]) -> dict[str, object]:
    """One entry of a manifest's `inputs` or `outputs`."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def statistics(moving: bool = True) -> dict[str, NDArray[np.float64]]:
    """Arrays of the one layer; channel 3 is dead."""
    scale = np.array([1.0, 0.5, 2.0, 1e-6, 1.5])
    mean, var = np.linspace(-1, 1, FILTERS), np.linspace(0.5, 2, FILTERS)
    bias = np.full(FILTERS, 0.25)
    multiplier = scale / np.sqrt(var + 1e-5)
    arrays = {
        "scale": scale,
        "bias": bias,
        "mean": mean,
        "var": var,
        "multiplier": multiplier,
        "shift": bias - multiplier * mean,
    }
    if moving:
        arrays |= {"moving_mean": mean * 0.9, "moving_var": var * 1.1}
    return {f"{LAYER}/{field}": array for field, array in arrays.items()}


def layer(name: str = LAYER) -> dict[str, object]:
    """The one layer in words."""
    return {
        "name": name,
        "node": "/features/features.1/BatchNormalization",
        "operator": "BatchNormalization",
        "channels": FILTERS,
        "epsilon": 1e-5,
        "momentum": 0.1,
        "count": 100,
        "statistics": "population",
        "folded_into": "/features/features.0/Conv",
        "rule": "conv",
        "findings": ["1 channel is dead"],
    }


def contents(model: bytes, moving: bool = True) -> dict[str, bytes]:
    """The files of a bundle, but for the manifest."""
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **statistics(moving))
    return {
        "model.onnx": model,
        "probe.onnx": model,
        "normalization.npz": packed.getvalue(),
        "layers.json": json.dumps([layer()]).encode(),
        "fold.json": b"{}",
    }


def manifest(name: str, version: int, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest of the convolutional bundle."""
    held = {"passed": True, "figure": 0.0, "limit": 0.0, "detail": "bit-equal"}
    return {
        "format_version": 1,
        "name": name,
        "version": version,
        "created": "2026-01-01T00:00:00Z",
        "producer": {"tests": "1"},
        "derivation": "made by hand",
        "inputs": [tensor("image", "FP32", [-1, CHANNELS, SIZE, SIZE])],
        "outputs": [tensor("scores", "FP32", [-1, len(LABELS)])],
        "preprocessing": {
            "width": SIZE,
            "height": SIZE,
            "colour": "RGB",
            "mean": MEAN,
            "std": STD,
        },
        "labels": LABELS,
        "output_activation": "softmax",
        "checks": {"frozen": held, "batch_invariant": held, "parity": held},
        "files": {
            file: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for file, data in files.items()
        },
    }


def write_bundle(
    models: Path,
    name: str = "tiny",
    version: int = 1,
    model: bytes | None = None,
    **fields: Any,
) -> Path:
    """Writes models/name/version and returns it; `fields` replace those of the manifest."""
    files = contents(convolutional() if model is None else model)
    folder = models / name / str(version)
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    document = manifest(name, version, files) | fields
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def write_plain(
    models: Path,
    name: str,
    model: bytes,
    inputs: Sequence[dict[str, object]],
    outputs: Sequence[dict[str, object]],
) -> Path:
    """Writes a bundle of any network, without preprocessing and labels."""
    return write_bundle(
        models,
        name,
        model=model,
        inputs=list(inputs),
        outputs=list(outputs),
        preprocessing=None,
        labels=None,
    )


def rewrite_manifest(folder: Path, **fields: Any) -> None:
    """Replaces fields of a manifest; `None` as value removes the field."""
    place = folder / "manifest.json"
    document = json.loads(place.read_text(encoding="utf-8")) | fields
    kept = {key: value for key, value in document.items() if value is not None}
    place.write_text(json.dumps(kept), encoding="utf-8")
