"""Any network of the operators that lines pass: the fold equals it, in double and to its digits.

In double the constants' rounding is far below the limit: what is seen is the algebra.
"""

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings

from tests.training.fold.random_graphs import C, networks
from training.fold import fold
from training.fold.equivalence import relative_error
from training.fold.float64 import evaluate

# Double has 1e-16; lines of hostile statistics cancel up to some ten digits in a chain of nine.
LIMIT = 1e-6


@settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(networks())
def test_a_folded_network_equals_what_it_was(model: onnx.ModelProto) -> None:
    result = fold(model)
    onnx.checker.check_model(result.model, full_check=True)
    x = np.random.default_rng(0).standard_normal((2, C, 6, 6))
    before, after = evaluate(model, {"x": x}), evaluate(result.model, {"x": x})
    for output in model.graph.output:
        assert relative_error(before[output.name], after[output.name]) < LIMIT
    for layer in result.report.layers:
        if layer.output is not None:
            told = relative_error(before[original(model, layer.node)], after[layer.output])
            assert told < LIMIT, "the report names another tensor as the layer's output"


def original(model: onnx.ModelProto, node: str) -> str:
    found: str = next(n.output[0] for n in model.graph.node if n.name == node)
    return found
