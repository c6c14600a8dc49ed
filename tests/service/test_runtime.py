"""ONNX Runtime behind the protocol: what it takes, what it refuses."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.errors import BadBundle, InferenceFailed
from service.metrics import resident_bytes
from service.runtime import OnnxRuntime
from service.tensors import TensorSpec
from tests.service.bundles import elementwise, graph


def test_runs_a_network_as_numpy_computes_it() -> None:
    runtime = OnnxRuntime(elementwise("Add", inputs=("a", "b")), threads=1)
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[0.5, -1, 0]], np.float32)
    np.testing.assert_array_equal(runtime.run({"a": a, "b": b})["y"], a + b)


def test_symbolic_and_unnamed_dimensions_are_free() -> None:
    runtime = OnnxRuntime(elementwise("Neg", shape=("N", "M")), threads=1)
    assert runtime.inputs == (TensorSpec("x", "FP32", (-1, -1)),)
    assert runtime.outputs == (TensorSpec("y", "FP32", (-1, -1)),)


def test_external_data_is_refused_even_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = {"w": np.ones(3, np.float32)}
    vector: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, ["N", 3])}
    model = onnx.load_from_string(
        graph(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            vector,
            {"y": (TensorProto.FLOAT, ["N", 3])},
            constants,
        )
    )
    weight = model.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, "weights.bin", 0, 12)
    weight.ClearField("raw_data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadBundle, match="cannot be loaded: External data"):
        OnnxRuntime(model.SerializeToString(), threads=1)


def test_foreign_operators_and_junk_are_refused_in_one_sentence() -> None:
    node = helper.make_node("Foo", ["x"], ["y"], domain="com.example")
    vector: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, ["N", 3])}
    foreign = graph([node], vector, {"y": (TensorProto.FLOAT, ["N", 3])}, domain="com.example")
    for model, reason in ((foreign, "Foo"), (b"junk", "protobuf"), (b"", "graph")):
        with pytest.raises(BadBundle, match=reason) as refused:
            OnnxRuntime(model, threads=1)
        assert not re.search(r"\n|ONNXRuntimeError|\.cc:", str(refused.value))


def test_a_datatype_that_the_protocol_has_not_is_named() -> None:
    with pytest.raises(BadBundle, match=r"input 'x': expected one of BOOL.*tensor\(bfloat16\)"):
        OnnxRuntime(elementwise("Identity", TensorProto.BFLOAT16), threads=1)


def test_text_is_run_as_it_is() -> None:
    runtime = OnnxRuntime(elementwise("Identity", TensorProto.STRING), threads=1)
    texts = np.array([["a", "", "naïve ☃"]], object)
    assert runtime.inputs[0].datatype == "BYTES"
    assert runtime.run({"x": texts})["y"].tolist() == texts.tolist()


def test_a_failed_run_says_so() -> None:
    runtime = OnnxRuntime(elementwise("Neg"), threads=1)
    with pytest.raises(InferenceFailed, match="Got: 4 Expected: 3"):
        runtime.run({"x": np.ones((1, 4), np.float32)})


def test_the_memory_of_a_large_run_can_be_given_back() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("ReduceMax", ["a"], ["y"], keepdims=0),
    ]
    wide: tuple[int, list[int | str]] = (TensorProto.FLOAT, ["N", 2**18])
    model = graph(nodes, {"x": wide}, {"y": (TensorProto.FLOAT, [])})
    runtime, rows = OnnxRuntime(model, threads=1), np.zeros((64, 2**18), np.float32)
    runtime.run({"x": rows[:1]})  # what the first run takes is kept
    before = resident_bytes()
    runtime.run({"x": rows})
    taken = resident_bytes() - before
    assert taken > rows.nbytes / 2
    runtime.release_memory({"x": rows[:1]})
    assert resident_bytes() - before < taken / 4
