"""A served model: verified on this machine before it may answer."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from service.bundle import open_bundle
from service.errors import BadBundle
from service.manifest import MODEL
from service.model import Model, load_model
from service.tensors import Array
from tests.service.bundles import elementwise, graph, tensor, write_bundle, write_plain


def images(rows: int) -> Array:
    """Random pictures."""
    return np.random.default_rng(1).standard_normal((rows, 3, 8, 8)).astype(np.float32)


def test_answers_as_the_network_does(tiny_bundle: Path) -> None:
    model = load_model(open_bundle(tiny_bundle), threads=1)
    session = ort.InferenceSession((tiny_bundle / MODEL).read_bytes())
    (expected,) = session.run(None, {"image": images(3)})
    np.testing.assert_array_equal(
        asyncio.run(model.predict({"image": images(3)}))["scores"], expected
    )
    assert not model.row_by_row
    model.close()


def test_a_network_that_normalizes_by_its_batch_is_never_served(tmp_path: Path) -> None:
    vector: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, ["N", 3])}
    network = graph(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        vector,
        {"y": (TensorProto.FLOAT, ["N", 3])},
    )
    same = [tensor(name, "FP32", [-1, 3]) for name in ("x", "y")]
    folder = write_plain(tmp_path, "training", network, same[:1], same[1:])
    with pytest.raises(BadBundle, match="expected a frozen network"):
        load_model(open_bundle(folder), threads=1)


def test_a_fixed_batch_loads(tmp_path: Path) -> None:
    fixed = [tensor(name, "FP32", [2, 3]) for name in ("x", "y")]
    network = elementwise("Neg", shape=(2, 3))
    folder = write_plain(tmp_path, "pair", network, fixed[:1], fixed[1:])
    model: Model = load_model(open_bundle(folder), threads=1)
    assert "fixed at 2" in model.checks_here.batch_invariant.detail
    model.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": [tensor("picture", "FP32", [-1, 3, 8, 8])]}, "inputs picture.*got image"),
        (
            {"inputs": [tensor("image", "FP64", [-1, 3, 8, 8])], "preprocessing": None},
            "FP64.*got image FP32",
        ),
        (
            {"outputs": [tensor("scores", "FP32", [-1, 5])], "labels": None},
            r"outputs scores FP32 \[-1, 5\]",
        ),
        ({"labels": ["ant", "bee"]}, "2 labels need an output of shape"),
        (
            {"preprocessing": {"width": 9, "height": 8, "colour": "L", "mean": [0], "std": [1]}},
            r"preprocessing gives FP32 \[1, 1, 8, 9\]",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_the_network_is_refused(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    folder = write_bundle(tmp_path, **fields)
    with pytest.raises(BadBundle, match=words):
        load_model(open_bundle(folder), threads=1)


def test_outputs_must_have_the_batch_first(tmp_path: Path) -> None:
    vector: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, ["N", 3])}
    network = graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)],
        vector,
        {"y": (TensorProto.FLOAT, [])},
    )
    folder = write_plain(
        tmp_path, "scalar", network, [tensor("x", "FP32", [-1, 3])], [tensor("y", "FP32", [])]
    )
    with pytest.raises(BadBundle, match="free batch as first dimension of every output"):
        load_model(open_bundle(folder), threads=1)
