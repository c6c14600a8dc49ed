"""Parallel linear branches into one convolution: fires, equals, refuses. The oracle is float64."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Array, Builder, channel_error, operators, run
from training.fold import FoldResult, fold, folded_layers, prove
from training.fold.float64 import evaluate

FLOAT32 = 2e-6  # 32 unit roundoffs
C = 4


def _conv(builder: Builder, name: str, kernel: Sequence[int] = (3, 3), **attributes: Any) -> str:
    """A convolution of 'x' (or `data`) with C channels that keeps the size at stride 1."""
    data, bias = attributes.pop("data", "x"), attributes.pop("bias", False)
    attributes.setdefault("pads", [k // 2 for k in kernel] * 2)
    weight = builder.weight(f"{name}.w", C, C // attributes.get("group", 1), *kernel)
    inputs = [data, weight, builder.weight(f"{name}.b", C)] if bias else [data, weight]
    return builder.op("Conv", inputs, name, name=name, **attributes)


def _statistics(builder: Builder) -> dict[str, Array]:
    """Negative and zero scales, variances from 1e-6 to 1e6, at comparable loudness: where a branch
    drowns the others, an error in those would not be seen."""
    var = 10 ** builder.random.uniform(-6, 6, C)
    scale = builder.random.choice([-2.0, -0.5, 0.0, 1.5], C) * np.sqrt(var + 1e-5)
    mean, bias = builder.random.standard_normal((2, C))
    made = {"scale": scale, "bias": bias, "mean": mean * np.sqrt(var), "var": var}
    return {name: array.astype(np.float32) for name, array in made.items()}


def _bn(builder: Builder, data: str, name: str) -> str:
    return builder.normalize(data, name, _statistics(builder))


def _model(builder: Builder, *outputs: str, spatial: Sequence[int] = (7, 7)) -> onnx.ModelProto:
    return builder.model({"x": ["N", C, *spatial]}, outputs or ["y"])


def _x(builder: Builder, spatial: Sequence[int] = (7, 7)) -> Array:
    return builder.random.standard_normal((2, C, *spatial)).astype(np.float32)


def _equal(model: onnx.ModelProto, folded: onnx.ModelProto, x: Array) -> None:
    onnx.checker.check_model(folded, full_check=True)
    expected = evaluate(model, {"x": x})
    for output, result in zip(model.graph.output, run(folded, x=x), strict=True):
        assert channel_error(expected[output.name], result) < FLOAT32


def _merged(builder: Builder, into: str, model: onnx.ModelProto | None = None) -> FoldResult:
    """Folds, and checks that one convolution is left, equal to the network."""
    model = model or _model(builder)
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    assert [merge.into for merge in result.report.merges] == [into]
    spatial = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:]]
    _equal(model, result.model, _x(builder, spatial))
    return result


@pytest.mark.parametrize("group", [1, 2, C])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_repvgg_becomes_one_convolution(axes: int, group: int) -> None:
    builder = Builder(axes)
    big = _bn(builder, _conv(builder, "big", [3] * axes, group=group), "big.bn")
    small = _bn(builder, _conv(builder, "small", [1] * axes, group=group, bias=True), "small.bn")
    both = builder.op("Add", [big, small], "both")
    builder.op("Add", [both, _bn(builder, "x", "identity.bn")], "y", name="join")
    result = _merged(builder, "big", _model(builder, spatial=[7] * axes))
    for layer in result.report.layers:
        assert (layer.rule, layer.folded_into, layer.output) == ("branches", "big", None)
    (merge,) = result.report.merges
    assert merge.join == "join"
    assert set(merge.layers) == {"big.bn", "small.bn", "identity.bn"}
    assert set(merge.branches) == {"Conv 'big'", "Conv 'small'", "'x' itself"}
    (conv,) = result.model.graph.node
    metadata = {entry.key: entry.value for entry in conv.metadata_props}
    assert folded_layers(metadata) == [layer.name for layer in result.report.layers]
    assert list(conv.output) == ["y"]
    assert "parallel branches merged: 1; " in result.report.summary()
    assert result.report.to_json()["merges"][0]["into"] == "big"


def test_kernels_of_several_sizes_meet_at_their_centres() -> None:
    builder = Builder(1)
    names = [
        _conv(builder, name, kernel, bias=index % 2 == 0)
        for index, (name, kernel) in enumerate(
            {"a": (3, 3), "b": (5, 5), "c": (1, 3), "d": (3, 1), "e": (1, 1), "f": (5, 5)}.items()
        )
    ]
    builder.op("Sum", [*names, "x"], "y")
    _merged(builder, "b")


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ({"strides": [2, 2]}, {"strides": [2, 2]}),
        ({"dilations": [2, 3], "pads": [2, 3, 2, 3]}, {}),
        ({"pads": [2, 1, 1, 2]}, {"pads": [1, 0, 0, 1]}),
        ({"kernel": (3, 3), "pads": None, "auto_pad": "SAME_UPPER"}, {}),
        ({"kernel": (4, 4), "pads": None, "auto_pad": "SAME_LOWER"}, {}),
        ({"kernel": (1, 1), "pads": None, "auto_pad": "VALID"}, {}),
        (
            {"kernel": (5, 5), "pads": [2] * 4},
            {"kernel": (3, 3), "dilations": [2, 2], "pads": [2] * 4},
        ),
        ({"group": 2}, {"group": C}),
        ({"group": 1}, {"kernel": (3, 3), "group": 2}),
    ],
    ids=str,
)
def test_geometries_that_agree_are_merged(host: dict[str, Any], other: dict[str, Any]) -> None:
    builder = Builder(2)
    small = _conv(builder, "small", **({"kernel": (1, 1)} | other))
    builder.op("Add", [small, _conv(builder, "big", **host)], "y")
    result = fold(model := _model(builder))
    assert operators(result.model) == ["Conv"]
    _equal(model, result.model, _x(builder))


@pytest.mark.parametrize(
    ("host", "other", "words"),
    [
        # Where sizes differ, the sum broadcasts one row to several: 1 and 2, then 1 and 3.
        ({"strides": [2, 2], "size": 1}, {"strides": [2, 2], "pads": [1] * 4}, "padding"),
        ({"pads": [0, 0, 0, 0], "size": 3}, {}, "padding"),
        ({"strides": [2, 2], "size": 1}, {}, "strides"),
        ({"pads": [3, 3, 1, 1], "dilations": [2, 2]}, {}, "taps"),
        ({"dilations": [2, 2], "pads": [2] * 4}, {"kernel": (3, 3)}, "taps"),
        ({"kernel": (1, 3)}, {"kernel": (3, 1)}, "taps"),
        ({"group": C}, {}, "groups"),
        ({"kernel": (5, 5), "group": C}, {"kernel": (3, 3), "group": 2}, "groups"),
    ],
    ids=str,
)
def test_geometries_that_differ_are_refused_in_words(
    host: dict[str, Any], other: dict[str, Any], words: str
) -> None:
    builder = Builder(3)
    size = host.get("size", 7)
    host = {name: value for name, value in host.items() if name != "size"}
    small = _conv(builder, "small", **({"kernel": (1, 1)} | other))
    builder.op("Add", [small, _conv(builder, "big", **host)], "y")
    result = fold(_model(builder, spatial=(size, size)))
    (merge,) = result.report.merges
    assert merge.refusal is not None
    assert f"differ in {words}" in merge.refusal
    assert operators(result.model) == ["Conv", "Conv", "Add"]


def test_a_pooling_that_counts_its_padding_is_a_convolution() -> None:
    builder = Builder(4)
    pool = builder.op(
        "AveragePool", ["x"], "p", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1
    )
    big = _bn(builder, _conv(builder, "big"), "n")
    builder.op("Add", [big, _bn(builder, pool, "pn")], "y")
    _merged(builder, "big")


@pytest.mark.parametrize(("attribute", "value"), [("count_include_pad", 0), ("ceil_mode", 1)])
def test_a_pooling_that_changes_at_the_border_is_refused(attribute: str, value: int) -> None:
    builder = Builder(4)
    attributes = {"count_include_pad": 1, "ceil_mode": 0, attribute: value}
    pool = builder.op("AveragePool", ["x"], "p", kernel_shape=[3, 3], pads=[1] * 4, **attributes)
    builder.op("Add", [_conv(builder, "big"), pool], "y")
    (merge,) = fold(_model(builder)).report.merges
    assert merge.refusal is not None
    assert merge.refusal.endswith("so its weights change at the border")


def test_fastvit_mixes_by_differences_and_a_scale_of_its_own() -> None:
    """x + γ·(mixer(x) - norm(x)), with constants on either side and a layer behind the sum."""
    builder = Builder(5)
    mixer = builder.op("Add", [_bn(builder, _conv(builder, "m", group=C), "m.bn"), "x"], "mixer")
    less = builder.op("Sub", [mixer, _bn(builder, "x", "norm")], "less")
    scaled = builder.op("Mul", [builder.weight("gamma", C, 1, 1), less], "scaled")
    shifted = builder.op("Add", [scaled, builder.weight("shift", 1, C, 1, 1)], "shifted")
    halved = builder.op(
        "Div", [shifted, builder.constant("two", np.array(2, np.float32))], "halved"
    )
    result = _merged_last(builder, builder.op("Add", ["x", halved], "sum"))
    assert [layer.output for layer in result.report.layers] == [None, None, "y"]


def _merged_last(builder: Builder, data: str) -> FoldResult:
    _bn(builder, data, "y")
    return _merged(builder, "m")


def test_addends_of_other_inputs_stay_in_the_sum() -> None:
    builder = Builder(6)
    other = builder.op("Relu", ["x"], "other")
    kept = _bn(builder, builder.op("Sigmoid", ["x"], "sigmoid"), "kept")
    merged = builder.op("Sub", [_bn(builder, _conv(builder, "a"), "n"), "x"], "merged")
    some = builder.op("Add", [merged, kept], "some")
    builder.op("Add", [some, other], "y", name="join")
    result = fold(model := _model(builder))
    assert sorted(operators(result.model)) == [
        "BatchNormalization", "Conv", "Relu", "Sigmoid", "Sum",
    ]  # fmt: skip
    assert result.model.graph.node[-1].name == "join"
    _equal(model, result.model, _x(builder))


def test_an_addend_that_would_lose_its_factor_leaves_the_inner_sum_to_be_merged() -> None:
    builder = Builder(7)
    inner = builder.op("Add", [_conv(builder, "a"), _conv(builder, "b", (1, 1))], "inner")
    outer = builder.op("Add", [inner, builder.op("Relu", ["x"], "r")], "outer", name="outer")
    _bn(builder, outer, "y")
    result = fold(model := _model(builder))
    assert operators(result.model) == ["Conv", "Relu", "Add", "BatchNormalization"]
    assert [(merge.join, merge.into) for merge in result.report.merges] == [("outer", "a")]
    _equal(model, result.model, _x(builder))


def test_two_sums_in_one_become_two_convolutions() -> None:
    builder = Builder(8)
    data = builder.op("Relu", ["x"], "r")
    names = [
        _conv(builder, name, kernel, data=source)
        for name, kernel, source in (
            ("a", (3, 3), "x"), ("b", (3, 3), data), ("c", (1, 1), "x"), ("d", (1, 1), data),
        )
    ]  # fmt: skip
    builder.op("Sum", names, "y")
    result = fold(model := _model(builder))
    assert sorted(operators(result.model)) == ["Add", "Conv", "Conv", "Relu"]
    _equal(model, result.model, _x(builder))


def test_ordinary_residual_connections_are_left() -> None:
    builder = Builder(9)
    first = _bn(builder, _conv(builder, "a"), "n1")
    second = _bn(builder, _conv(builder, "b", data=builder.op("Relu", [first], "r")), "n2")
    builder.op("Add", [second, "x"], "y")
    result = fold(_model(builder))
    assert operators(result.model) == ["Conv", "Relu", "Conv", "Add"]
    assert result.report.merges == ()


@pytest.mark.parametrize("outputs", [("y", "n"), ("y", "z")])
def test_a_branch_with_other_readers_is_refused_by_name(outputs: tuple[str, str]) -> None:
    builder = Builder(10)
    builder.op("Add", [_conv(builder, "a"), _bn(builder, "x", "n")], "y")
    builder.op("Relu", ["n"], "z", name="relu")
    result = fold(model := _model(builder, *outputs))
    reader = "the network's output" if "n" in outputs else ""
    refusal = result.report.layers[0].refusal
    assert refusal is not None
    assert "branches: BatchNormalization 'n' also feeds Relu 'relu'" in refusal
    assert refusal.endswith(reader or "'relu'")
    _equal(model, result.model, _x(builder))


def test_a_constant_along_another_axis_is_no_factor() -> None:
    builder = Builder(11)
    scaled = builder.op("Mul", [_conv(builder, "a"), builder.weight("row", C)], "s")
    builder.op("Add", [scaled, "x"], "y")
    result = fold(model := _model(builder, spatial=(C, C)))
    assert operators(result.model) == ["Conv", "Mul", "Add"]
    _equal(model, result.model, _x(builder, (C, C)))


def test_one_channel_that_is_broadcast_is_refused() -> None:
    builder = Builder(12)
    for name in "ab":
        builder.op("Conv", ["x", builder.weight(f"{name}.w", 1, C, 1, 1)], name)
    both = builder.op("Add", ["a", "b"], "both")
    builder.op("Mul", [both, builder.weight("wide", C, 1, 1)], "y")
    result = fold(model := _model(builder))
    _equal(model, result.model, _x(builder))
    (merge,) = result.report.merges
    assert merge.refusal == "a constant in the sum is not one for 1 channels"


def test_a_layer_of_its_own_batch_is_no_branch() -> None:
    builder = Builder(13)
    builder.op("Add", [_conv(builder, "a"), _bn(builder, "x", "n")], "y")
    model = _model(builder)
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    assert "BatchNormalization" in operators(fold(model).model)


def test_overflow_is_refused_and_both_stay() -> None:
    builder = Builder(14)
    for name in "ab":
        weight = builder.constant(f"{name}.w", np.full((C, C, 1, 1), 40000, np.float16))
        builder.op("Conv", ["x", weight], name)
    builder.op("Add", ["a", "b"], "y")
    model = builder.model({"x": ["N", C, 3, 3]}, ["y"], dtype=TensorProto.FLOAT16)
    result = fold(model)
    assert result.report.merges[0].refusal == "a folded constant of 80000 overflows float16"
    assert operators(result.model) == ["Conv", "Conv", "Add"]


def test_the_sum_is_rounded_once() -> None:
    builder = Builder(15)
    big = _bn(builder, _conv(builder, "big"), "n")
    builder.op("Add", [big, _bn(builder, "x", "i")], "y")
    made, folded = builder.constants, fold(_model(builder)).model

    def gain(name: str) -> Array:
        scale, var = (made[f"{name}.{p}"].astype(np.float64) for p in ("scale", "var"))
        result: Array = scale / np.sqrt(var + float(np.float32(1e-5)))
        return result

    expected = made["big.w"].astype(np.float64) * gain("n").reshape(-1, 1, 1, 1)
    expected[range(C), range(C), 1, 1] += gain("i")
    (weight,) = (t for t in folded.graph.initializer if len(t.dims) == 4)
    assert np.array_equal(numpy_helper.to_array(weight), expected.astype(np.float32))


def test_a_weight_that_two_branches_share_is_copied() -> None:
    builder = Builder(16)
    _conv(builder, "a")
    builder.op("Conv", ["x", "a.w"], "b", pads=[1] * 4)
    builder.op("Conv", ["x", "a.w"], "z", pads=[1] * 4)
    builder.op("Sub", ["a", _bn(builder, "b", "n")], "y")
    result = fold(model := _model(builder, "y", "z"))
    assert operators(result.model) == ["Conv", "Conv"]
    _equal(model, result.model, _x(builder))


def test_a_long_chain_takes_linear_time() -> None:
    """Four times the nodes take about four times as long; sixteen times it would be squared."""
    short, long = (min(_seconds(length) for _ in range(2)) for length in (400, 1600))
    assert long < 9 * short


def _seconds(length: int) -> float:
    """Of the processor, whatever else it does."""
    builder, data = Builder(17), "x"
    for index in range(length):
        data = builder.op("Add", [data, builder.op("Relu", ["x"], f"r{index}")], f"s{index}")
    model = _model(builder, data)
    began = time.process_time()
    fold(model)
    return time.process_time() - began


@st.composite
def sums(draw: st.DrawFn) -> onnx.ModelProto:
    """A sum of one to five branches of 'x' that all keep the size, some behind layers."""
    builder, axes = Builder(draw(st.integers(0, 2**16))), draw(st.integers(1, 2))
    data, count = "", draw(st.integers(2, 5))
    for index in range(count):
        name = f"b{index}"
        kind = draw(st.sampled_from(["conv", "conv", "identity", "pool"]))
        kernel = [draw(st.sampled_from([1, 3, 5])) for _ in range(axes)]
        dilations = [draw(st.sampled_from([1, 1, 2])) for _ in range(axes)]
        pads = [(k - 1) * d // 2 for k, d in zip(kernel, dilations, strict=True)] * 2
        branch = "x"
        if kind == "conv":
            group = draw(st.sampled_from([1, 2, C]))
            bias = draw(st.booleans())
            options = {"group": group, "dilations": dilations, "pads": pads}
            branch = _conv(builder, name, kernel, bias=bias, **options)
        if kind == "pool":
            pads, counted = [k // 2 for k in kernel] * 2, draw(st.integers(0, 1))
            options = {"kernel_shape": kernel, "pads": pads, "count_include_pad": counted}
            branch = builder.op("AveragePool", ["x"], name, **options)
        if draw(st.booleans()):
            branch = _bn(builder, branch, f"n{index}")
        join = draw(st.sampled_from(["Add", "Sub", "Sum"]))
        data = branch if not data else builder.op(join, [data, branch], f"s{index}")
        if index and draw(st.integers(0, 4)) == 0:
            data = _bn(builder, data, f"m{index}")
    return builder.model({"x": ["N", C, *[9] * axes]}, [data])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sums())
def test_any_sum_of_branches_equals_the_float64_evaluation(model: onnx.ModelProto) -> None:
    result = fold(model)
    assert prove(model, result.model).passed
    assert result.report.nodes_after <= result.report.nodes_before
