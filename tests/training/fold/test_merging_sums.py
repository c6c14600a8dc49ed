"""Sums of branches: what stays in the sum, what is refused, and any sum at all."""

import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Array, Builder, operators
from tests.training.fold.branches import C, bn, convolution, equal, image, network
from training.fold import fold, prove


def test_addends_of_other_inputs_stay_in_the_sum() -> None:
    builder = Builder(6)
    other = builder.op("Relu", ["x"], "other")
    kept = bn(builder, builder.op("Sigmoid", ["x"], "sigmoid"), "kept")
    merged = builder.op("Sub", [bn(builder, convolution(builder, "a"), "n"), "x"], "merged")
    some = builder.op("Add", [merged, kept], "some")
    builder.op("Add", [some, other], "y", name="join")
    result = fold(model := network(builder))
    assert sorted(operators(result.model)) == [
        "BatchNormalization", "Conv", "Relu", "Sigmoid", "Sum",
    ]  # fmt: skip
    assert result.model.graph.node[-1].name == "join"
    equal(model, result.model, image(builder))


def test_an_addend_that_would_lose_its_factor_leaves_the_inner_sum_to_be_merged() -> None:
    builder = Builder(7)
    inner = builder.op(
        "Add", [convolution(builder, "a"), convolution(builder, "b", (1, 1))], "inner"
    )
    outer = builder.op("Add", [inner, builder.op("Relu", ["x"], "r")], "outer", name="outer")
    bn(builder, outer, "y")
    result = fold(model := network(builder))
    assert operators(result.model) == ["Conv", "Relu", "Add", "BatchNormalization"]
    assert [(merge.join, merge.into) for merge in result.report.merges] == [("outer", "a")]
    equal(model, result.model, image(builder))


def test_two_sums_in_one_become_two_convolutions() -> None:
    builder = Builder(8)
    data = builder.op("Relu", ["x"], "r")
    names = [
        convolution(builder, name, kernel, data=source)
        for name, kernel, source in (
            ("a", (3, 3), "x"), ("b", (3, 3), data), ("c", (1, 1), "x"), ("d", (1, 1), data),
        )
    ]  # fmt: skip
    builder.op("Sum", names, "y")
    result = fold(model := network(builder))
    assert sorted(operators(result.model)) == ["Add", "Conv", "Conv", "Relu"]
    equal(model, result.model, image(builder))


def test_ordinary_residual_connections_are_left() -> None:
    builder = Builder(9)
    first = bn(builder, convolution(builder, "a"), "n1")
    second = bn(builder, convolution(builder, "b", data=builder.op("Relu", [first], "r")), "n2")
    builder.op("Add", [second, "x"], "y")
    result = fold(network(builder))
    assert operators(result.model) == ["Conv", "Relu", "Conv", "Add"]
    assert result.report.merges == ()


@pytest.mark.parametrize("outputs", [("y", "n"), ("y", "z")])
def test_a_branch_with_other_readers_is_refused_by_name(outputs: tuple[str, str]) -> None:
    builder = Builder(10)
    builder.op("Add", [convolution(builder, "a"), bn(builder, "x", "n")], "y")
    builder.op("Relu", ["n"], "z", name="relu")
    result = fold(model := network(builder, *outputs))
    reader = "the network's output" if "n" in outputs else ""
    refusal = result.report.layers[0].refusal
    assert refusal is not None
    assert "branches: BatchNormalization 'n' also feeds Relu 'relu'" in refusal
    assert refusal.endswith(reader or "'relu'")
    equal(model, result.model, image(builder))


def test_a_constant_along_another_axis_is_no_factor() -> None:
    builder = Builder(11)
    scaled = builder.op("Mul", [convolution(builder, "a"), builder.weight("row", C)], "s")
    builder.op("Add", [scaled, "x"], "y")
    result = fold(model := network(builder, spatial=(C, C)))
    assert operators(result.model) == ["Conv", "Mul", "Add"]
    equal(model, result.model, image(builder, (C, C)))


def test_one_channel_that_is_broadcast_is_refused() -> None:
    builder = Builder(12)
    for name in "ab":
        builder.op("Conv", ["x", builder.weight(f"{name}.w", 1, C, 1, 1)], name)
    both = builder.op("Add", ["a", "b"], "both")
    builder.op("Mul", [both, builder.weight("wide", C, 1, 1)], "y")
    result = fold(model := network(builder))
    equal(model, result.model, image(builder))
    (merge,) = result.report.merges
    assert merge.refusal == "a constant in the sum is not one for 1 channels"


def test_a_layer_of_its_own_batch_is_no_branch() -> None:
    builder = Builder(13)
    builder.op("Add", [convolution(builder, "a"), bn(builder, "x", "n")], "y")
    model = network(builder)
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
    big = bn(builder, convolution(builder, "big"), "n")
    builder.op("Add", [big, bn(builder, "x", "i")], "y")
    made, folded = builder.constants, fold(network(builder)).model

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
    convolution(builder, "a")
    builder.op("Conv", ["x", "a.w"], "b", pads=[1] * 4)
    builder.op("Conv", ["x", "a.w"], "z", pads=[1] * 4)
    builder.op("Sub", ["a", bn(builder, "b", "n")], "y")
    result = fold(model := network(builder, "y", "z"))
    assert operators(result.model) == ["Conv", "Conv"]
    equal(model, result.model, image(builder))


def test_a_long_chain_takes_linear_time() -> None:
    """Four times the nodes take about four times as long; sixteen times it would be squared."""
    short, long = (min(_seconds(length) for _ in range(2)) for length in (400, 1600))
    assert long < 9 * short


def _seconds(length: int) -> float:
    """Of the processor, whatever else it does."""
    builder, data = Builder(17), "x"
    for index in range(length):
        data = builder.op("Add", [data, builder.op("Relu", ["x"], f"r{index}")], f"s{index}")
    model = network(builder, data)
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
            branch = convolution(builder, name, kernel, bias=bias, **options)
        if kind == "pool":
            pads, counted = [k // 2 for k in kernel] * 2, draw(st.integers(0, 1))
            options = {"kernel_shape": kernel, "pads": pads, "count_include_pad": counted}
            branch = builder.op("AveragePool", ["x"], name, **options)
        if draw(st.booleans()):
            branch = bn(builder, branch, f"n{index}")
        join = draw(st.sampled_from(["Add", "Sub", "Sum"]))
        data = branch if not data else builder.op(join, [data, branch], f"s{index}")
        if index and draw(st.integers(0, 4)) == 0:
            data = bn(builder, data, f"m{index}")
    return builder.model({"x": ["N", C, *[9] * axes]}, [data])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sums())
def test_any_sum_of_branches_equals_the_float64_evaluation(model: onnx.ModelProto) -> None:
    result = fold(model)
    assert prove(model, result.model).passed
    assert result.report.nodes_after <= result.report.nodes_before
