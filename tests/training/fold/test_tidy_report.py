"""What computes nothing goes, and the report still names tensors and nodes that are there."""

import numpy as np
import pytest

from tests.graphs import Array, Builder, constants, operators, run
from training.fold import FoldResult, fold
from training.fold.float64 import evaluate
from training.probe import add_probes

C = 4
SHAPE = ("N", C, 6, 6)


def _feeds() -> dict[str, Array]:
    return {"x": np.random.default_rng(3).standard_normal((3, C, 6, 6), np.float32)}


def _probed(builder: Builder, output: str) -> tuple[FoldResult, tuple[str, str]]:
    model = builder.model({"x": SHAPE}, [output])
    result, feeds = fold(model), _feeds()
    _, *statistics = run(add_probes(result.model, result.report).model, False, **feeds)
    n = evaluate(model, feeds)["n"]
    np.testing.assert_allclose(statistics[0], n.mean((2, 3)), rtol=1e-5, atol=1e-5 * abs(n).max())
    return result, (result.model.graph.node[0].output[0], str(result.report.layers[0].output))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("output", [True, False])
def test_the_report_names_the_layer_s_output_that_is_left(before: bool, output: bool) -> None:
    """No-ops on both sides of a layer that folds; behind it perhaps the network's output."""
    builder = Builder(3)
    data = builder.op("Conv", ["x", builder.weight("w", C, C, 1, 1)], "c")
    data = builder.op("Identity", [data], "i") if before else data
    data = builder.op("Dropout", [builder.normalize(data, "n", C)], "d")
    builder.constant("s", np.array([-1, C, 6, 6]))
    data = builder.op("Reshape", [data, "s"], "last")
    data = data if output else builder.op("Relu", [data], "y")
    result, (computed, named) = _probed(builder, data)
    assert operators(result.model) == (["Conv"] if output else ["Conv", "Relu"])
    assert named == computed
    assert not output or named == "last"


def test_the_output_of_a_layer_that_stays_takes_over_the_network_s() -> None:
    builder = Builder(3)
    builder.op("Identity", [builder.normalize(builder.op("Relu", ["x"], "r"), "n", C)], "y")
    result, (_, named) = _probed(builder, "y")
    assert operators(result.model) == ["Relu", "BatchNormalization"]
    assert named == "y" == result.model.graph.node[1].output[0]


def test_a_node_that_took_a_layer_in_stays() -> None:
    """The report names it, even where its constant has become neutral."""
    builder = Builder()
    ones, zeros = np.ones(C, np.float32), np.zeros(C, np.float32)
    statistics = {"scale": 2 * ones, "bias": zeros, "mean": zeros, "var": ones}
    data = builder.op("Relu", ["x"], "r")
    builder.constant("half", np.full((C, 1, 1), 0.5, np.float32))
    data = builder.op("Mul", [data, "half"], "m")
    builder.normalize(data, "n", statistics, epsilon=0.0)
    builder.op("Sigmoid", ["n"], "y")
    result = fold(builder.model({"x": SHAPE}, ["y"]))
    (layer,) = result.report.layers
    assert layer.folded_into == "m.node" == result.model.graph.node[1].name
    assert (constants(result.model)["half"] == 1).all()
