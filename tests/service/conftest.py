"""A folder of models, an application over it, and a real server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto

from service.app import create_app
from service.settings import Settings
from tests.servers import Server, serving, start
from tests.service.bundles import convolutional, elementwise, tensor, write_bundle, write_plain


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good models of several kinds, and a bad one beside them."""
    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder, "tiny", 1)
    write_bundle(folder, "tiny", 2, convolutional(seed=2), forced=["BN005 error: initial"])
    for datatype, kind in (
        ("FP64", TensorProto.DOUBLE),
        ("FP32", TensorProto.FLOAT),
        ("FP16", TensorProto.FLOAT16),
        ("INT64", TensorProto.INT64),
        ("INT8", TensorProto.INT8),
        ("UINT8", TensorProto.UINT8),
        ("UINT64", TensorProto.UINT64),
        ("BOOL", TensorProto.BOOL),
        ("BYTES", TensorProto.STRING),
    ):
        same = [tensor(name, datatype, [-1, 3]) for name in ("x", "y")]
        network = elementwise("Identity", kind)
        write_plain(folder, f"same_{datatype.lower()}", network, same[:1], same[1:])
    free = [tensor(name, "FP32", [-1, -1]) for name in ("x", "y")]
    logarithm = elementwise("Log", shape=("N", "M"))
    write_plain(folder, "logarithm", logarithm, free[:1], free[1:])
    added = [tensor(name, "FP32", [-1, 3]) for name in ("a", "b", "y")]
    write_plain(folder, "sum", elementwise("Add", inputs=("a", "b")), added[:2], added[2:])
    fixed = [tensor(name, "FP32", [2, 3]) for name in ("x", "y")]
    write_plain(folder, "pair", elementwise("Neg", shape=(2, 3)), fixed[:1], fixed[1:])
    (write_bundle(folder, "broken", 1) / "model.onnx").write_bytes(b"junk")
    return folder


@pytest.fixture(scope="session")
def client(models: Path) -> Iterator[httpx.Client]:
    """The application over `models`, with a body limit of 1 MiB and pictures of 1 megapixel."""
    settings = Settings(models=models, max_body_mb=1, max_image_megapixels=1, threads=1)
    with serving(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """A real server over `models`, for clients that need a socket."""
    started = start("--models", str(models), FOLDSERVE_THREADS="1", FOLDSERVE_MAX_BODY_MB="1")
    yield started
    status, errors = started.stop()
    assert status == 0, errors
    assert "Traceback" not in errors
