"""Rules that look at an ONNX network alone: each fires on its fault, and not on a healthy one."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Builder
from tests.training.doctor.networks import (
    CHANNELS,
    ask,
    diagnose,
    healthy,
    spoiled,
    statistic,
)
from training.doctor import RULES, examine, from_onnx


def _edited(edit: Callable[[onnx.GraphProto], None], **options: object) -> onnx.ModelProto:
    model = healthy(**options)  # type: ignore[arg-type]
    edit(model.graph)
    return model


def _node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    node: onnx.NodeProto = next(node for node in graph.node if node.name == name)
    return node


def _training_mode(graph: onnx.GraphProto) -> None:
    node = _node(graph, "second")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["running_mean", "running_var"])


def _more_outputs(graph: onnx.GraphProto) -> None:
    _node(graph, "second").output.extend(["m", "v", "sm", "sv"])


def _computed(graph: onnx.GraphProto) -> None:
    """As PyTorch's exporter writes track_running_stats=False: no training_mode, mean computed."""
    mean = helper.make_node("ReduceMean", ["second.conv"], ["m"], axes=[0, 2, 3], keepdims=0)
    at = list(graph.node).index(_node(graph, "second"))
    graph.node.insert(at, mean)
    _node(graph, "second").input[3] = "m"


def _shared_weight(graph: onnx.GraphProto) -> None:
    graph.node.append(
        helper.make_node("Conv", ["first.active", "second.weight"], ["z"], name="again")
    )
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))


def _unfoldable(graph: onnx.GraphProto) -> None:
    """A second reader of the convolution."""
    graph.output.append(helper.make_tensor_value_info("second.conv", TensorProto.FLOAT, None))


def _none(graph: onnx.GraphProto) -> None:
    return None


def _small_channel() -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return spoiled("second.var", 3, 5e-5)


def _switched_off() -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    bias = statistic("second.bias")
    bias[[1, 4]] = -10
    return {"second.bias": bias}


HUGE = spoiled("second.var", 5, 1e5)
FAULTS: list[tuple[str, str, str | None, int | None, Callable[[], onnx.ModelProto]]] = [
    ("BN001", "error", "second", None, lambda: _edited(_training_mode)),
    ("BN001", "error", "second", None, lambda: _edited(_more_outputs)),
    ("BN002", "error", "second", None, lambda: _edited(_computed)),
    ("BN003", "error", None, None, lambda: _edited(_computed)),
    ("BN005", "error", "first", None, lambda: healthy(_initial())),
    ("BN007", "error", "first", None, lambda: healthy(attributes={"momentum": 0.1})),
    ("BN007", "warning", "first", None, lambda: healthy(attributes={"momentum": 1.0})),
    ("BN008", "error", "second", 2, lambda: healthy(spoiled("second.bias", 2, np.nan))),
    ("BN008", "error", "first", 0, lambda: healthy(spoiled("first.mean", 0, np.inf))),
    ("BN009", "error", "second", 6, lambda: healthy(spoiled("second.var", 6, -1e-9))),
    ("BN010", "warning", "second", 3, lambda: healthy(_small_channel())),
    ("BN012", "info", "first", None, lambda: healthy(attributes={"epsilon": 1e-6})),
    ("BN013", "warning", "second", 1, lambda: healthy(_switched_off())),
    (
        "BN014",
        "warning",
        "second",
        7,
        lambda: healthy(spoiled("second.bias", 7, -9.0), activation="Sigmoid"),
    ),
    ("BN015", "warning", "second", 3, lambda: healthy(spoiled("second.var", 3, 1e-12))),
    ("BN016", "warning", "second", 5, lambda: healthy(HUGE)),
    ("BN017", "warning", "second", 5, lambda: healthy(HUGE)),
    ("BN018", "warning", "second", None, lambda: _edited(_shared_weight)),
    ("BN019", "info", "first", None, lambda: healthy(bias=True)),
    ("BN020", "info", "second", None, lambda: _edited(_unfoldable)),
    ("BN030", "info", None, None, lambda: healthy(attributes={"momentum": 0.9})),
]


def _initial() -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {
        "first.mean": np.zeros(CHANNELS, np.float32),
        "first.var": np.ones(CHANNELS, np.float32),
    }


@pytest.mark.parametrize(("rule", "severity", "layer", "channel", "build"), FAULTS)
def test_a_rule_fires_on_its_fault(
    rule: str,
    severity: str,
    layer: str | None,
    channel: int | None,
    build: Callable[[], onnx.ModelProto],
) -> None:
    found = ask(build(), rule)
    assert found, f"{rule} is silent"
    first = found[0]
    assert (first.id, first.severity, first.layer) == (rule, severity, layer)
    assert channel is None or first.channel == channel
    assert first.message.rstrip().endswith((".", "tells which."))


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
def test_no_rule_fires_on_a_healthy_network(rule: str, activation: str) -> None:
    assert ask(healthy(activation=activation), rule) == ()


def test_a_healthy_network_says_what_else_could_be_checked() -> None:
    diagnosis = examine(from_onnx(healthy()), ignore=["BN019"])
    assert diagnosis.findings == ()
    assert diagnosis.ignored == ("BN019",)
    assert "BN019" not in diagnosis.checked
    assert diagnosis.not_checked["BN031"] == "data: --data FILE.npz"
    assert "--relation rank" in diagnosis.not_checked["BN027"]
    assert {*diagnosis.checked, *diagnosis.not_checked, "BN019"} == {rule.id for rule in RULES}


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99, 0.999])
def test_every_sound_momentum_of_onnx_passes(kept: float) -> None:
    assert ask(healthy(attributes={"momentum": kept}), "BN007") == ()


def test_statistics_behind_constant_operators_are_constants() -> None:
    """Unfused exports cast or reshape the stored statistics."""

    def cast(graph: onnx.GraphProto) -> None:
        graph.node.insert(
            0, helper.make_node("Cast", ["second.mean"], ["cast"], to=TensorProto.FLOAT)
        )
        _node(graph, "second").input[3] = "cast"

    assert ask(_edited(cast), "BN002") == ()


def test_statistics_that_the_caller_gives_are_found() -> None:
    def given(graph: onnx.GraphProto) -> None:
        graph.input.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [CHANNELS]))
        _node(graph, "second").input[3] = "m"

    (found,) = ask(_edited(given), "BN002")
    assert "given by the caller" in found.message


def test_a_default_that_a_caller_may_override_is_no_computed_statistic() -> None:
    """Files of IR version 3 list every initializer among the inputs."""

    def listed(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )

    model = _edited(listed)
    assert ask(model, "BN002") == ()
    assert examine(from_onnx(model)).errors == ()


def test_batch_statistics_in_plain_operators_are_found_by_running() -> None:
    builder = Builder()
    builder.op("ReduceMean", ["x"], "mean", axes=[0], keepdims=1)
    builder.op("Sub", ["x", "mean"], "y")
    model = builder.model({"x": ["batch", 4]}, ["y"])
    (found,) = ask(model, "BN003")
    assert found.measured is not None
    assert found.measured > 1
    assert "labels flip" in found.message
    assert "free" in diagnose(builder.model({"x": [1, 4]}, ["y"]), "BN003").not_checked["BN003"]


def test_training_mode_is_seen_by_running_too() -> None:
    (found,) = ask(_edited(_training_mode), "BN003")
    assert found.severity == "error"


def test_sizes_that_depend_on_kernels_are_no_fault() -> None:
    """The limit is above the rounding of a product with another number of rows."""
    builder = Builder()
    builder.op("MatMul", ["x", builder.weight("w", 512, 300)], "y")
    assert ask(builder.model({"x": ["batch", 512]}, ["y"]), "BN003") == ()


def test_detectron2_frozen_layers_are_not_called_untrained() -> None:
    changes = _initial() | {"first.var": np.full(CHANNELS, 1 - 1e-5, np.float32)}
    assert ask(healthy(changes), "BN005") == ()


def test_float16_overflow_is_an_error_only_in_a_float16_network() -> None:
    def half(graph: onnx.GraphProto) -> None:
        weight = next(t for t in graph.initializer if t.name == "second.weight")
        wide = numpy_helper.to_array(weight) * 1e4
        weight.CopyFrom(numpy_helper.from_array(wide.astype(np.float16), weight.name))

    model = _edited(half, changes=spoiled("second.var", 2, 1e-4))
    overflow = [found for found in ask(model, "BN016") if found.layer == "second"]
    assert overflow[0].severity == "error"
    assert overflow[0].channel == 2


def test_folded_weights_that_vanish_in_float16_are_remarked_on() -> None:
    weight = np.full((CHANNELS, 3, 3, 3), 1e-6, np.float32)
    found = ask(healthy({"first.weight": weight}), "BN016")
    assert [(f.severity, f.layer) for f in found] == [("info", "first")]


def test_a_network_whose_layers_were_folded_on_export_is_told() -> None:
    from training.fold import fold

    bare = fold(healthy()).model
    for node in bare.graph.node:
        del node.metadata_props[:]
    (found,) = ask(bare, "BN022")
    assert found.severity == "warning"
    assert "2 of 2 convolutions have a bias" in found.message


def test_a_saturated_silu_is_no_saturation() -> None:
    """x·sigmoid(x) passes large values on."""

    def silu(graph: onnx.GraphProto) -> None:
        graph.node.append(helper.make_node("Mul", ["second", "second.active"], ["swish"]))

    model = _edited(silu, changes=spoiled("second.bias", 7, -9.0), activation="Sigmoid")
    assert ask(model, "BN014") == ()


def test_an_answer_that_overflows_in_every_batch_alike_is_no_batch_dependence() -> None:
    builder = Builder()
    builder.constant("big", np.full(4, 3e38, np.float32))
    builder.op("Mul", ["x", "big"], "a")
    builder.op("Mul", ["a", "big"], "y")
    assert ask(builder.model({"x": ["batch", 4]}, ["y"]), "BN003") == ()


def test_a_layer_in_a_function_is_not_called_computed() -> None:
    """Its inputs are known only where the function is called."""
    names = ["data", "scale", "bias", "mean", "var"]
    body = [helper.make_node("BatchNormalization", names, ["out"], name="inner")]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Normalize", names, ["out"], body, opsets)
    builder = Builder()
    held = [builder.constant(n, np.full(3, 0.5, np.float32)) for n in names[1:]]
    builder.nodes.append(helper.make_node("Normalize", ["x", *held], ["y"], domain="own"))
    model = _with(builder, function)
    assert ask(model, "BN002") == ()
    assert examine(from_onnx(model)).errors == ()


def _with(builder: Builder, function: onnx.FunctionProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        builder.nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in builder.constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
