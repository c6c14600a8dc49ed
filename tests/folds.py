"""A fold checked against the float64 evaluation of what it was: for tests of what lines pass."""

from collections.abc import Mapping

import numpy as np
import onnx

from tests.graphs import Array, Builder, hostile_statistics, operators, run
from training.fold import FoldResult, fold
from training.fold.equivalence import relative_error
from training.fold.float64 import evaluate

# 300 unit roundoffs of float32: the sums have up to some hundred products, of numbers that a line
# of hostile statistics makes very different.
LIMIT = 2e-5


def folds(builder: Builder, shape: tuple[int, ...], left: list[str], opset: int = 17) -> FoldResult:
    """Folds the network from 'x' to 'y', whose first dimension is free, and compares.

    `left` are the operators that must be left. The folded network is run in float64, which shows
    the algebra, and in ONNX Runtime, which shows that it is a network.
    """
    model = builder.model({"x": ["N", *shape[1:]]}, ["y"], opset)
    result = fold(model)
    assert operators(result.model) == left, result.report.layers
    equal(model, result.model, {"x": builder.random.standard_normal(shape).astype(np.float32)})
    return result


def equal(model: onnx.ModelProto, folded: onnx.ModelProto, feeds: Mapping[str, Array]) -> None:
    onnx.checker.check_model(folded, full_check=True)
    before, after = evaluate(model, feeds), evaluate(folded, feeds)
    for output, ours in zip(model.graph.output, run(folded, False, **feeds), strict=True):
        reference = before[output.name]
        assert np.isfinite(reference).all()
        assert relative_error(reference, after[output.name]) < LIMIT
        assert relative_error(reference, ours) < LIMIT


def refusal(builder: Builder, shape: tuple[int, ...], opset: int = 17) -> str:
    """Why the one layer of the network from 'x' to 'y' is left; that it is left unchanged."""
    model = builder.model({"x": ["N", *shape[1:]]}, ["y"], opset)
    result = fold(model)
    assert result.model.graph.node == model.graph.node
    (layer,) = result.report.layers
    assert layer.refusal is not None
    return layer.refusal


def rising(channels: int, seed: int = 0) -> dict[str, Array]:
    """Statistics with positive scales, as a maximum needs."""
    statistics = hostile_statistics(channels, np.random.default_rng(seed))
    return statistics | {"scale": np.abs(statistics["scale"])}


def unshifted(channels: int, seed: int = 0) -> dict[str, Array]:
    """Statistics of a layer that only multiplies."""
    zero = np.zeros(channels, np.float32)
    return hostile_statistics(channels, np.random.default_rng(seed)) | {"bias": zero, "mean": zero}
