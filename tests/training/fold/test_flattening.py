"""Shape arithmetic that only keeps the batch goes; what may be another reshaping stays."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from tests.graphs import Builder, constants, operators, run
from training.export import Signature, export
from training.fold import fold
from training.fold.float64 import evaluate
from training.networks import build

SHAPE = ("N", 4, 3, 2)
Batch = Callable[[Builder, str], str]


def _ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


def _index(builder: Builder, value: int = 0) -> str:
    return builder.constant("index", np.array(value, np.int64))


def _gathered(builder: Builder, data: str) -> str:
    """What PyTorch's older exporter writes."""
    size = builder.op("Gather", [builder.op("Shape", [data], "shape"), _index(builder)], "n")
    return builder.op("Unsqueeze", [size, _ints(builder, "axes", 0)], "batch")


def _sliced(builder: Builder, data: str) -> str:
    """What tf2onnx writes."""
    shape = builder.op("Cast", [builder.op("Shape", [data], "shape")], "s", to=TensorProto.INT32)
    bounds = [_ints(builder, name, value) for name, value in (("a", 0), ("b", 1), ("axis", 0))]
    size = builder.op("Squeeze", [builder.op("Slice", [shape, *bounds], "sliced")], "n")
    size = builder.op("Unsqueeze", [size, _ints(builder, "axes", 0)], "u")
    return builder.op("Cast", [size], "batch", to=TensorProto.INT64)


def _first(builder: Builder, data: str) -> str:
    """What PyTorch's exporter writes."""
    shape = builder.op("Shape", [data], "shape", start=0, end=1)
    size = builder.op("Squeeze", [shape], "n")
    return builder.op("Reshape", [size, _ints(builder, "one", -1)], "batch", allowzero=0)


def _model(
    batch: Batch,
    sizes: Sequence[int],
    origin: str = "r",
    shape: Sequence[int | str] = SHAPE,
    **attributes: int,
) -> onnx.ModelProto:
    """Relu, then a reshaping to [N, *sizes], where N is read from `origin`."""
    builder = Builder()
    builder.op("Relu", ["x"], "r")
    parts = [batch(builder, origin), _ints(builder, "sizes", *sizes)]
    target = builder.op("Concat", parts, "target", axis=0)
    builder.op("Sigmoid", [builder.op("Reshape", ["r", target], "f", **attributes)], "y")
    return builder.model({"x": shape}, ["y"])


def _same(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    onnx.checker.check_model(folded, full_check=True)
    for rows in (1, 3):
        feeds = {"x": np.random.default_rng(rows).standard_normal((rows, 4, 3, 2), np.float32)}
        assert np.array_equal(run(model, False, **feeds)[0], run(folded, False, **feeds)[0])
        assert np.array_equal(evaluate(model, feeds)["y"], evaluate(folded, feeds)["y"])


@pytest.mark.parametrize("allowzero", [0, 1])
@pytest.mark.parametrize("size", [-1, 24])
@pytest.mark.parametrize("batch", [_gathered, _sliced, _first])
def test_it_becomes_a_flatten(batch: Batch, size: int, allowzero: int) -> None:
    model = _model(batch, [size], allowzero=allowzero)
    folded = fold(model).model
    assert operators(folded) == ["Relu", "Flatten", "Sigmoid"]
    assert not folded.graph.initializer
    _same(model, folded)


def test_the_batch_of_another_tensor_if_no_other_size_is_possible() -> None:
    model = _model(_first, [24], "x")
    folded = fold(model).model
    assert operators(folded) == ["Relu", "Flatten", "Sigmoid"]
    _same(model, folded)


@pytest.mark.parametrize("origin", ["r", "x"])
def test_other_sizes_become_constants(origin: str) -> None:
    model = _model(_gathered, [2, 12], origin)
    folded = fold(model).model
    assert operators(folded) == ["Relu", "Reshape", "Sigmoid"]
    assert constants(folded)["f.shape"].tolist() == [0, 2, 12]
    _same(model, folded)


def test_a_flattening_that_changes_nothing_goes() -> None:
    model = _model(_first, [24], shape=("N", 24))
    assert operators(fold(model).model) == ["Relu", "Sigmoid"]


def test_before_flatten_takes_every_type_the_shape_is_a_constant() -> None:
    builder = Builder()
    size = builder.op("Gather", [builder.op("Shape", ["x"], "s"), _ints(builder, "i", 0)], "n")
    target = builder.op("Concat", [size, _ints(builder, "k", -1)], "target", axis=0)
    builder.op("Relu", [builder.op("Reshape", ["x", target], "f")], "y")
    model = builder.model({"x": SHAPE}, ["y"])
    model.opset_import[0].version = 8
    folded = fold(model).model
    assert operators(folded) == ["Reshape", "Relu"]
    assert constants(folded)["f.shape"].tolist() == [0, -1]


def _second(builder: Builder, data: str) -> str:
    size = builder.op("Gather", [builder.op("Shape", [data], "shape"), _index(builder, 1)], "n")
    return builder.op("Unsqueeze", [size, _ints(builder, "axes", 0)], "batch")


def _computed(builder: Builder, data: str) -> str:
    return builder.op("Mul", [_first(builder, data), _ints(builder, "two", 2)], "twice")


def _late(builder: Builder, data: str) -> str:
    return builder.op("Shape", [data], "shape", start=1, end=2)


def _late_gathered(builder: Builder, data: str) -> str:
    shape = builder.op("Shape", [data], "shape", start=1)
    return builder.op("Gather", [shape, _ints(builder, "index", 0)], "batch")


REFUSED: dict[str, tuple[Batch, list[int], str, int]] = {
    "another axis": (_second, [-1], "r", 0),
    "a size that starts later": (_late, [-1], "r", 0),
    "the first size that is left of a shape": (_late_gathered, [-1], "r", 0),
    "a computed size": (_computed, [12], "r", 0),
    "another tensor and a free size": (_first, [-1], "x", 0),
    "no free size, and other entries": (_first, [12], "x", 0),
    "a zero that is meant": (_first, [0, -1], "r", 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_another_reshaping_stays(name: str) -> None:
    batch, sizes, origin, allowzero = REFUSED[name]
    model = _model(batch, sizes, origin, allowzero=allowzero)
    assert fold(model).model.graph == model.graph


def test_free_sizes_behind_the_batch_of_another_tensor_stay() -> None:
    model = _model(_first, [24], "x", shape=("N", 4, "H", "W"))
    assert fold(model).model.graph == model.graph


@pytest.mark.parametrize("gathers", [True, False])
def test_a_whole_shape_is_not_taken_for_its_first_size(gathers: bool) -> None:
    """Gather of row 0 of [[N, 4, 3, 2]] is the whole shape."""
    builder = Builder()
    builder.op("Relu", ["x"], "r")
    rows = builder.op("Unsqueeze", [builder.op("Shape", ["r"], "s"), _ints(builder, "a", 0)], "u")
    take = ("Gather", [rows, _index(builder)]) if gathers else ("Squeeze", [rows, "a"])
    whole = builder.op(*take, "g")
    target = builder.op("Concat", [whole, _ints(builder, "one", 1)], "target", axis=0)
    builder.op("Sigmoid", [builder.op("Reshape", ["r", target], "f")], "y")
    model = builder.model({"x": SHAPE}, ["y"])
    assert fold(model).model.graph == model.graph


def test_a_shape_that_others_read_stays() -> None:
    builder = Builder()
    batch = _first(builder, "x")
    target = builder.op("Concat", [batch, _ints(builder, "sizes", -1)], "target", axis=0)
    builder.op("Reshape", ["x", target], "y")
    builder.op("Expand", [builder.constant("k", np.ones((1, 1), np.float32)), "batch"], "z")
    model = builder.model({"x": SHAPE}, ["y", "z"])
    folded = fold(model).model
    assert operators(folded) == ["Shape", "Squeeze", "Reshape", "Flatten", "Expand"]
    _same(model, folded)


def test_the_perceptron_has_no_shape_arithmetic_left() -> None:
    torch.manual_seed(0)
    model = export(build("mnist-mlp"), torch.zeros(1, 1, 28, 28), Signature())
    result = fold(model)
    assert operators(result.model) == ["Flatten", "Gemm", *["Sigmoid", "Gemm"] * 3]
    assert (result.report.nodes_before, result.report.nodes_after) == (17, 8)
    image = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    before, after = run(model, image=image)[0], run(result.model, image=image)[0]
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
