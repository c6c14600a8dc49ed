"""Probes: the statistics are right, and the network's own answer is the same bit for bit."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.graphs import Builder, operators, run
from training.fold import fold
from training.probe import Probed, add_probes

FLOAT32 = 1e-5  # sums over up to 216 positions, in float32


def _probe(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Probed]:
    result = fold(model)
    probed = add_probes(result.model, result.report)
    onnx.checker.check_model(probed.model, full_check=True)
    return result.model, probed


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_probes_hold_the_statistics_and_leave_the_answer(axes: int, optimized: bool) -> None:
    builder = Builder(axes)
    size = [6] * axes
    if axes:
        builder.op("Conv", ["x", builder.weight("w", 5, 3, *[1] * axes)], "c")
    else:
        builder.op("Gemm", ["x", builder.weight("w", 3, 5)], "c")
    builder.normalize("c", "n", 5)
    builder.op("Relu", ["n"], "y")
    model = builder.model({"x": ["N", 3, *size]}, ["y", "n"])
    folded, probed = _probe(model)
    assert probed.outputs == {"n": ("probe.0.mean", "probe.0.mean_square")}
    x = builder.random.standard_normal((4, 3, *size)).astype(np.float32)
    y, n = run(folded, optimized, x=x)
    y2, n2, mean, mean_square = run(probed.model, optimized, x=x)
    assert np.array_equal(y, y2)
    assert np.array_equal(n, n2)
    wide = n.astype(np.float64).reshape(4, 5, -1)
    np.testing.assert_allclose(mean, wide.mean(2), rtol=FLOAT32, atol=FLOAT32 * np.abs(wide).max())
    np.testing.assert_allclose(mean_square, (wide**2).mean(2), rtol=FLOAT32, atol=0)


def test_a_layer_that_stays_is_probed_and_one_that_is_gone_is_not() -> None:
    builder = Builder()
    builder.op("Conv", ["x", builder.weight("w", 5, 3, 1, 1)], "c")
    builder.normalize(builder.normalize("c", "gone", 5), "kept", 5)
    builder.op("Relu", ["kept"], "r")
    builder.normalize("r", "left", 5)
    folded, probed = _probe(builder.model({"x": ["N", 3, 4, 4]}, ["left"]))
    assert operators(folded) == ["Conv", "Relu", "BatchNormalization"]
    assert probed.outputs == {
        "kept": ("probe.1.mean", "probe.1.mean_square"),
        "left": ("probe.2.mean", "probe.2.mean_square"),
    }
    assert [output.name for output in probed.model.graph.output] == [
        "left",
        *(name for pair in probed.outputs.values() for name in pair),
    ]
    rows = probed.model.graph.output[1].type.tensor_type.shape.dim
    assert (rows[0].dim_param, rows[1].dim_value) == ("N", 5)


def test_the_folded_network_is_not_modified() -> None:
    builder = Builder()
    builder.op("Conv", ["x", builder.weight("w", 5, 3, 1, 1)], "c")
    builder.normalize("c", "y", 5)
    result = fold(builder.model({"x": ["N", 3, 4, 4]}, ["y"]))
    before = result.model.SerializeToString(deterministic=True)
    add_probes(result.model, result.report)
    assert result.model.SerializeToString(deterministic=True) == before


def test_squares_of_float16_do_not_overflow() -> None:
    builder = Builder()
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT16)
    builder.op("Conv", ["x", builder.constant("w", np.full((2, 1, 1, 1), 1000, dtype))], "c")
    builder.normalize("c", "y", {n: np.ones(2, dtype) for n in ("scale", "bias", "mean", "var")})
    _, probed = _probe(builder.model({"x": ["N", 1, 2, 2]}, ["y"], dtype=TensorProto.FLOAT16))
    _, mean, mean_square = run(probed.model, x=np.ones((1, 1, 2, 2), dtype))
    assert mean.dtype == mean_square.dtype == np.float32
    np.testing.assert_allclose(mean_square, mean**2, rtol=FLOAT32)
