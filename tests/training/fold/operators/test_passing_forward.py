"""A layer before weights: the line goes forward into all that read it, and the answer stays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.folds import folds, refusal, rising, unshifted
from tests.graphs import Array, Builder
from training.fold import fold

C = 4
IMAGE = (2, C, 6, 6)


def _layer(builder: Builder, statistics: dict[str, Array] | int = C) -> str:
    """A layer behind an activation, where nothing can take it backward."""
    return builder.normalize(builder.op("Relu", ["x"], "r"), "n", statistics)


def _conv(builder: Builder, data: str, output: str = "y", **attributes: Any) -> str:
    group = attributes.get("group", 1)
    inputs = [data, builder.weight(f"{output}.w", 8, C // group, 3, 3)]
    inputs += [builder.weight(f"{output}.b", 8)]
    return builder.op("Conv", inputs, output, **attributes)


def _ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("attributes", [{}, {"strides": [2, 1], "dilations": [1, 2]}], ids=str)
def test_an_unpadded_convolution_takes_the_line(group: int, attributes: dict[str, Any]) -> None:
    builder = Builder(group)
    _conv(builder, _layer(builder), group=group, **attributes)
    result = folds(builder, IMAGE, ["Relu", "Conv"])
    (layer,) = result.report.layers
    assert (layer.rule, layer.folded_into, layer.output) == ("before conv", "y.node", None)


@pytest.mark.parametrize("axes", [1, 3])
def test_convolutions_of_other_dimensions_take_it(axes: int) -> None:
    builder = Builder(axes)
    builder.op("Conv", [_layer(builder), builder.weight("w", 5, C, *[2] * axes)], "y")
    folds(builder, (2, C, *[4] * axes), ["Relu", "Conv"])


@pytest.mark.parametrize(
    "attributes", [{"pads": [0, 0, 1, 0]}, {"auto_pad": "SAME_UPPER"}], ids=str
)
def test_a_shift_does_not_cross_zero_padding(attributes: dict[str, Any]) -> None:
    builder = Builder()
    _conv(builder, _layer(builder), **attributes)
    assert "pads with zeros, which the shift would change" in refusal(builder, IMAGE)


@pytest.mark.parametrize(
    "attributes", [{"pads": [1, 0, 1, 2]}, {"auto_pad": "SAME_UPPER"}], ids=str
)
def test_a_multiplier_alone_crosses_zero_padding(attributes: dict[str, Any]) -> None:
    builder = Builder()
    _conv(builder, _layer(builder, unshifted(C)), **attributes)
    folds(builder, IMAGE, ["Relu", "Conv"])


def test_a_shift_that_reaches_no_output_crosses_zero_padding() -> None:
    builder = Builder()
    statistics = unshifted(C)
    statistics["bias"][1] = 3
    _conv(builder, _layer(builder, statistics), pads=[1, 1, 1, 1])
    builder.constants["y.w"][:, 1] = 0
    folds(builder, IMAGE, ["Relu", "Conv"])


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_a_shift_crosses_padding_that_copies(mode: str) -> None:
    builder = Builder()
    pads = _ints(builder, "pads", 0, 0, 1, 1, 0, 0, 1, 1)
    _conv(builder, builder.op("Pad", [_layer(builder), pads], "p", mode=mode))
    folds(builder, IMAGE, ["Relu", "Pad", "Conv"])


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("bias", [None, (), (3,), (1, 3), (5, 1)], ids=str)
def test_a_gemm_takes_the_line(transposed: tuple[int, int], bias: tuple[int, ...] | None) -> None:
    builder = Builder(2)
    data = _layer(builder, C)
    if transposed[0]:
        data = builder.op("Transpose", [data], "t")
    shape = (3, C) if transposed[1] else (C, 3)
    inputs = [data, builder.weight("B", *shape)]
    inputs += [] if bias is None else [builder.weight("k", *bias)]
    factors = {"alpha": 0.3, "beta": -2.0}
    builder.op("Gemm", inputs, "y", transA=transposed[0], transB=transposed[1], **factors)
    left = ["Relu", "Transpose", "Gemm"] if transposed[0] else ["Relu", "Gemm"]
    folds(builder, (5, C), left)


def test_a_product_of_matrices_becomes_a_gemm() -> None:
    builder = Builder(2)
    builder.op("MatMul", [_layer(builder), builder.weight("W", C, 3)], "y")
    folds(builder, (5, C), ["Relu", "Gemm"])


def test_a_product_with_its_bias_behind_it_keeps_both() -> None:
    builder = Builder(2)
    last = builder.op("Transpose", [_layer(builder)], "t", perm=[0, 2, 1])
    product = builder.op("MatMul", [last, builder.weight("W", C, 3)], "m")
    builder.op("Add", [product, builder.weight("b", 3)], "y")
    folds(builder, (2, C, 5), ["Relu", "Transpose", "MatMul", "Add"])


def test_a_product_without_a_bias_gets_one() -> None:
    builder = Builder(2)
    last = builder.op("Transpose", [_layer(builder)], "t", perm=[0, 2, 1])
    builder.op("MatMul", [last, builder.weight("W", C, 3)], "y")
    folds(builder, (2, C, 5), ["Relu", "Transpose", "MatMul", "Add"])


def test_a_product_with_the_constant_on_the_left_takes_it() -> None:
    builder = Builder(2)
    builder.op("MatMul", [builder.weight("W", 3, C), _layer(builder)], "y")
    folds(builder, (2, C, 5), ["Relu", "MatMul", "Add"])


Through = Callable[[Builder, str], str]
POOLS: dict[str, dict[str, Any]] = {
    "GlobalAveragePool": {},
    "AveragePool": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "ReduceMean": {"axes": [2, 3]},
    "Identity": {},
    "Dropout": {},
}


@pytest.mark.parametrize("op_type", POOLS)
def test_the_line_passes_forward(op_type: str) -> None:
    builder = Builder(3)
    data = builder.op(op_type, [_layer(builder)], "p", **POOLS[op_type])
    builder.op("Conv", [data, builder.weight("w", 3, C, 1, 1)], "y")
    stays = op_type not in ("Identity", "Dropout")
    folds(builder, IMAGE, ["Relu", *([op_type] if stays else []), "Conv"])


def test_the_head_of_a_classifier() -> None:
    """BatchNormalization → ReduceMean → Gemm, behind a residual sum."""
    builder = Builder(3)
    total = builder.op("Add", [builder.op("Relu", ["x"], "r"), "x"], "sum")
    layer = builder.normalize(total, "n", C)
    pooled = builder.op("ReduceMean", [layer], "p", axes=[2, 3], keepdims=0)
    builder.op("Gemm", [pooled, builder.weight("w", C, 3), builder.weight("b", 3)], "y")
    folds(builder, IMAGE, ["Relu", "Add", "ReduceMean", "Gemm"])


@pytest.mark.parametrize("kind", ["Flatten", "Reshape"])
def test_flattening_repeats_the_line(kind: str) -> None:
    builder = Builder(3)
    inputs = [_layer(builder)] + ([_ints(builder, "s", 0, -1)] if kind == "Reshape" else [])
    flat = builder.op(kind, inputs, "flat")
    builder.op("Gemm", [flat, builder.weight("w", C * 36, 3)], "y")
    folds(builder, IMAGE, ["Relu", kind, "Gemm"])


def test_flattening_free_sizes_is_refused() -> None:
    builder = Builder(3)
    flat = builder.op("Flatten", [_layer(builder)], "flat")
    builder.op("Gemm", [flat, builder.weight("w", C * 36, 3)], "y")
    model = builder.model({"x": ["N", C, "H", "W"]}, ["y"])
    assert "among sizes that are not known" in str(fold(model).report.layers[0].refusal)


def test_a_maximum_passes_multipliers_that_are_not_negative() -> None:
    builder = Builder(3)
    data = builder.op("MaxPool", [_layer(builder, rising(C))], "p", kernel_shape=[2, 2])
    _conv(builder, data)
    folds(builder, IMAGE, ["Relu", "MaxPool", "Conv"])


def test_a_maximum_refuses_a_negative_multiplier() -> None:
    builder = Builder(3)
    statistics = rising(C)
    statistics["scale"][0] = -1
    data = builder.op("MaxPool", [_layer(builder, statistics)], "p", kernel_shape=[2, 2])
    _conv(builder, data)
    assert "takes maxima, which a multiplier of" in refusal(builder, IMAGE)


def test_a_part_of_a_concatenation_takes_its_part_of_the_line() -> None:
    builder = Builder(3)
    joined = builder.op("Concat", ["x", _layer(builder), "x"], "j", axis=1)
    builder.op("Conv", [joined, builder.weight("w", 5, 3 * C, 1, 1)], "y")
    folds(builder, IMAGE, ["Relu", "Concat", "Conv"])


def test_two_parts_of_a_split_take_their_parts_of_the_line() -> None:
    builder = Builder(3)
    data = _layer(builder)
    builder.nodes.append(helper.make_node("Split", [data], ["a", "b"], axis=1, name="split"))
    builder.op("Conv", ["a", builder.weight("w", 5, 2, 1, 1)], "c")
    builder.op("Conv", ["b", builder.weight("v", 5, 2, 1, 1)], "d")
    builder.op("Add", ["c", "d"], "y")
    folds(builder, IMAGE, ["Relu", "Split", "Conv", "Conv", "Add"])


def test_the_shuffled_channels_take_their_lines() -> None:
    builder = Builder(3)
    groups = builder.op("Reshape", [_layer(builder), _ints(builder, "s", 0, 2, 2, 6, 6)], "g")
    turned = builder.op("Transpose", [groups], "t", perm=[0, 2, 1, 3, 4])
    back = builder.op("Reshape", [turned, _ints(builder, "u", 0, C, 6, 6)], "b")
    _conv(builder, back, group=2)
    folds(builder, IMAGE, ["Relu", "Reshape", "Transpose", "Reshape", "Conv"])


def test_all_that_read_it_take_it() -> None:
    builder = Builder(3)
    data = _layer(builder)
    builder.op("Concat", [_conv(builder, data, "a"), _conv(builder, data, "b")], "y", axis=1)
    folds(builder, IMAGE, ["Relu", "Conv", "Conv", "Concat"])


def test_one_reader_that_cannot_take_it_keeps_it() -> None:
    builder = Builder(3)
    data = _layer(builder)
    first, second = _conv(builder, data, "a"), _conv(builder, data, "b", pads=[0, 1, 0, 1])
    builder.op("Concat", [first, second], "y", axis=3)
    assert "'b.node' pads with zeros" in refusal(builder, IMAGE)


def test_a_shared_weight_gets_two_copies() -> None:
    """One Conv behind the layer, one not, with one weight."""
    builder = Builder(3)
    first = _conv(builder, _layer(builder), "a")
    second = builder.op("Conv", ["r", "a.w", "a.b"], "b")
    builder.op("Add", [first, second], "y")
    folds(builder, IMAGE, ["Relu", "Conv", "Conv", "Add"])


def test_constants_in_between_go() -> None:
    builder = Builder(3)
    scaled = builder.op("Mul", [_layer(builder), builder.weight("k", C, 1, 1)], "m")
    shifted = builder.op("Sub", [builder.weight("l", C, 1, 1), scaled], "s")
    _conv(builder, builder.op("Div", [shifted, builder.weight("o")], "d"))
    folds(builder, IMAGE, ["Relu", "Conv"])


def test_the_network_s_input_is_standardized_by_the_first_weights() -> None:
    builder = Builder(3)
    _conv(builder, builder.normalize("x", "n", C))
    folds(builder, IMAGE, ["Conv"])


def test_a_sum_with_another_tensor_is_refused() -> None:
    builder = Builder(3)
    _conv(builder, builder.op("Add", [_layer(builder), "x"], "s"))
    assert "adds it to what has not gone through the line" in refusal(builder, IMAGE)


def test_a_gate_is_refused() -> None:
    builder = Builder(3)
    _conv(builder, builder.op("Mul", [_layer(builder), "x"], "s"))
    assert "has no constant factor" in refusal(builder, IMAGE)


def test_two_layers_in_a_row_become_one_and_go_forward() -> None:
    builder = Builder(3)
    _conv(builder, builder.normalize(_layer(builder), "o", C))
    result = folds(builder, IMAGE, ["Relu", "Conv"])
    assert [layer.rule for layer in result.report.layers] == [
        "before batchnormalization",
        "before conv",
    ]


def test_two_layers_in_a_row_become_one_where_it_stays() -> None:
    builder = Builder(3)
    builder.op("Relu", [builder.normalize(_layer(builder), "o", C)], "y")
    result = folds(builder, IMAGE, ["Relu", "BatchNormalization", "Relu"])
    assert result.report.folded == 1


def test_a_layer_that_is_an_output_too_is_refused() -> None:
    builder = Builder(3)
    _conv(builder, _layer(builder))
    (layer,) = fold(builder.model({"x": ["N", *IMAGE[1:]]}, ["y", "n"])).report.layers
    assert "forward: 'n' is the network's output" in str(layer.refusal)
