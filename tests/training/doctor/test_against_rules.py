"""Rules that compare two networks, each in a relation that the user names."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.graphs import Builder
from tests.training.doctor.networks import CHANNELS, LAYERS, ask, diagnose, healthy, statistic
from training.doctor import Patient, from_onnx
from training.doctor.patient import Relation
from training.doctor.weights import from_state_dicts
from training.fold import fold
from training.graph import Array


def _beside(ours: onnx.ModelProto, theirs: onnx.ModelProto, relation: Relation) -> Patient:
    return replace(from_onnx(ours), against=from_onnx(theirs), relation=relation)


def _moved(deviations: float) -> onnx.ModelProto:
    deviation = np.sqrt(statistic("second.var"))
    moved = statistic("second.mean") + deviations * deviation
    return healthy({"second.mean": moved.astype(np.float32)})


def _altered(model: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return model


def test_another_epsilon_is_found() -> None:
    small = {"second.var": np.full(CHANNELS, 0.01, np.float32)}
    ours, theirs = (healthy(small, {"epsilon": e}) for e in (1e-5, 1e-3))
    (found,) = ask(_beside(ours, theirs, "same"), "BN011")
    assert (found.severity, found.layer) == ("error", "second")
    assert found.measured == pytest.approx(1 - np.sqrt(0.01001 / 0.011), rel=1e-3)
    assert ask(_beside(ours, ours, "same"), "BN011") == ()
    wide = {"first.var": np.full(CHANNELS, 5, np.float32)}
    close = [healthy(wide, {"epsilon": e}) for e in (1e-5, 2e-5)]
    assert ask(_beside(close[0], close[1], "same"), "BN011") == ()


def test_a_correct_fold_answers_alike_and_a_wrong_one_does_not() -> None:
    folded = fold(healthy()).model
    assert ask(_beside(healthy(), folded, "same"), "BN021") == ()
    (found,) = ask(_beside(healthy(), _altered(folded, "head", 1.001), "same"), "BN021")
    assert found.severity == "error"
    assert found.measured == pytest.approx(1e-3, rel=0.1)


def test_other_inputs_or_outputs_cannot_be_compared() -> None:
    builder = Builder()
    builder.op("Relu", ["x"], "other")
    theirs = builder.model({"x": ["batch", 3, 6, 6]}, ["other"])
    diagnosis = diagnose(_beside(healthy(), theirs, "same"), "BN021")
    assert diagnosis.not_checked == {"BN021": "two networks with the same outputs"}


def _twice() -> onnx.ModelProto:
    """One weight in two convolutions, of which one is normalized."""
    builder = Builder()
    weight = builder.weight("w", 4, 3, 3, 3)
    builder.op("Conv", ["x", weight], "a")
    builder.normalize("a", "y", 4)
    builder.op("Conv", ["x", weight], "z")
    return builder.model({"x": ["batch", 3, 8, 8]}, ["y", "z"])


def _without(model: onnx.ModelProto, layer: str, weight: str) -> onnx.ModelProto:
    """As a folder leaves it that does not look: the layer is gone and the weight another."""
    node = next(node for node in model.graph.node if node.name == layer)
    for other in model.graph.node:
        other.input[:] = [node.input[0] if n == node.output[0] else n for n in other.input]
    outputs = [o for o in model.graph.output if o.name == node.output[0]]
    if outputs:
        model.graph.node.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
    model.graph.node.remove(node)
    return _altered(model, weight, 2)


def test_a_fold_into_a_shared_weight_is_an_error() -> None:
    (found,) = ask(_beside(_twice(), _without(_twice(), "y", "w"), "same"), "BN018")
    assert found.severity == "error"
    assert "Fold again" in found.message
    (kept,) = ask(_beside(_twice(), fold(_twice()).model, "same"), "BN018")
    assert kept.severity == "warning"


def _forward(padding: int) -> onnx.ModelProto:
    builder = Builder()
    builder.op("Relu", ["x"], "r")
    builder.normalize("r", "n", 3)
    builder.op("Conv", ["n", builder.weight("w", 4, 3, 3, 3)], "y", pads=[padding] * 4)
    return builder.model({"x": ["batch", 3, 8, 8]}, ["y"])


def test_a_fold_forward_through_zero_padding_is_an_error() -> None:
    padded = _beside(_forward(1), _without(_forward(1), "n", "w"), "same")
    assert "error" in [found.severity for found in ask(padded, "BN020")]
    bare = _beside(_forward(0), _without(_forward(0), "n", "w"), "same")
    assert "error" not in [found.severity for found in ask(bare, "BN020")]


def test_precise_statistics_tell_of_other_weights_and_of_a_stale_average() -> None:
    (found,) = ask(_beside(healthy(), _moved(0.5), "precise"), "BN023")
    assert (found.severity, found.layer) == ("error", "second")
    assert ask(_beside(healthy(), _moved(0.07), "precise"), "BN023") == ()
    (found,) = ask(_beside(healthy(), _moved(0.07), "precise"), "BN024")
    assert found.severity == "warning"
    assert ask(_beside(healthy(), _moved(0.01), "precise"), "BN024") == ()


def test_ranks_that_disagree_are_found() -> None:
    (found,) = ask(_beside(healthy(), _moved(0.1), "rank"), "BN027")
    assert (found.severity, found.layer) == ("warning", "second")
    assert ask(_beside(healthy(), _moved(0.01), "rank"), "BN027") == ()


def _state(count: int, shift: float = 0.0) -> Patient:
    tensors: dict[str, Array] = {}
    for layer in LAYERS:
        tensors |= {
            f"{layer}.weight": statistic(f"{layer}.scale"),
            f"{layer}.running_mean": statistic(f"{layer}.mean") + np.float32(shift),
            f"{layer}.running_var": statistic(f"{layer}.var"),
            f"{layer}.num_batches_tracked": np.array(count),
        }
    return from_state_dicts({"": tensors}, "state")


def test_frozen_layers_that_moved_are_found() -> None:
    still = replace(_state(5), against=_state(5), relation="frozen")
    assert ask(still, "BN028") == ()
    counted = ask(replace(_state(9), against=_state(5), relation="frozen"), "BN028")
    assert [f.layer for f in counted] == list(LAYERS)
    assert "4 batches were counted" in counted[0].message
    moved = ask(replace(_state(5, 0.1), against=_state(5), relation="frozen"), "BN028")
    assert [f.layer for f in moved] == list(LAYERS)


def test_a_relation_decides_which_rules_compare() -> None:
    diagnosis = diagnose(_beside(healthy(), _moved(0.5), "rank"), "BN023")
    assert diagnosis.findings == ()
    assert "BN021" in diagnose(_beside(healthy(), _moved(0.5), "rank"), "BN021").not_checked
