"""Operators between weights and a layer: the line passes them backward, and the answer stays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.folds import folds, refusal, rising, unshifted
from tests.graphs import Builder, hostile_statistics, operators, run
from training.fold import fold
from training.fold.equivalence import relative_error
from training.fold.float64 import evaluate

C = 4
IMAGE = (2, C, 6, 6)


def _conv(builder: Builder, name: str = "c", data: str = "x", out: int = C) -> str:
    weight = builder.weight(f"{name}.w", out, C, 3, 3)
    return builder.op("Conv", [data, weight], name, pads=[1, 1, 1, 1])


def _ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


def _floats(builder: Builder, name: str, *values: float) -> str:
    return builder.constant(name, np.array(values, np.float32))


Through = Callable[[Builder, str], str]
PASSAGES: dict[str, tuple[Through, list[str]]] = {}


def passage(*left: str) -> Callable[[Through], Through]:
    """An operator behind a Conv; `left` are the operators behind the Conv after the fold."""

    def add(through: Through) -> Through:
        PASSAGES[through.__name__] = (through, ["Conv", *left])
        return through

    return add


def _simple(op_type: str, stays: bool = True, **attributes: Any) -> None:
    name = f"{op_type} {attributes}" if attributes else op_type
    left = ["Conv", op_type] if stays else ["Conv"]
    PASSAGES[name] = (lambda b, data: b.op(op_type, [data], "p", **attributes), left)


_simple("Identity", stays=False)
_simple("Dropout", stays=False)
_simple("Transpose", perm=[0, 1, 3, 2])
_simple("GlobalAveragePool")
_simple("AveragePool", kernel_shape=[2, 2])
_simple("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
_simple("AveragePool", kernel_shape=[2, 2], count_include_pad=1)
_simple("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_UPPER")
_simple("ReduceMean", axes=[2, 3])
_simple("ReduceMean", axes=[-1], keepdims=0)
_simple("ReduceMean", axes=[3, -2], keepdims=0)
_simple("Cast", stays=False, to=TensorProto.FLOAT)


@passage()
def neg(builder: Builder, data: str) -> str:
    return builder.op("Neg", [data], "p")


@passage()
def add_constant(builder: Builder, data: str) -> str:
    return builder.op("Add", [data, builder.weight("k", C, 1, 1)], "p")


@passage()
def add_constant_first(builder: Builder, data: str) -> str:
    return builder.op("Add", [builder.weight("k", 1, C, 1, 1), data], "p")


@passage("Add")
def add_a_constant_for_each_place(builder: Builder, data: str) -> str:
    return builder.op("Add", [data, builder.weight("k", 1, C, 6, 6)], "p")


@passage("Add")
def add_a_constant_along_the_width(builder: Builder, data: str) -> str:
    return builder.op("Add", [data, builder.weight("k", 6)], "p")


@passage()
def subtract_constant(builder: Builder, data: str) -> str:
    return builder.op("Sub", [data, builder.weight("k", C, 1, 1)], "p")


@passage()
def subtract_from_constant(builder: Builder, data: str) -> str:
    return builder.op("Sub", [builder.weight("k", C, 1, 1), data], "p")


@passage("Sub")
def subtract_from_a_constant_for_each_place(builder: Builder, data: str) -> str:
    return builder.op("Sub", [builder.weight("k", 1, C, 6, 6), data], "p")


@passage()
def multiply(builder: Builder, data: str) -> str:
    return builder.op("Mul", [data, builder.weight("k", C, 1, 1)], "p")


@passage()
def multiply_by_scalar(builder: Builder, data: str) -> str:
    return builder.op("Mul", [builder.weight("k"), data], "p")


@passage()
def divide(builder: Builder, data: str) -> str:
    return builder.op("Div", [data, builder.weight("k", 1, C, 1, 1)], "p")


@passage()
def scale_and_shift(builder: Builder, data: str) -> str:
    scaled = builder.op("Mul", [data, builder.weight("k", C, 1, 1)], "scaled")
    return builder.op("Add", [scaled, builder.weight("l", C, 1, 1)], "p")


@passage("Unsqueeze", "Squeeze")
def unsqueeze_and_squeeze(builder: Builder, data: str) -> str:
    wide = builder.op("Unsqueeze", [data, _ints(builder, "a", 0, 3)], "wide")
    return builder.op("Squeeze", [wide, _ints(builder, "b", 0, -3)], "p")


@passage("Reshape")
def reshape_to_a_sequence(builder: Builder, data: str) -> str:
    return builder.op("Reshape", [data, _ints(builder, "shape", 0, 0, -1)], "p")


@passage("Transpose", "Transpose")
def transpose_there_and_back(builder: Builder, data: str) -> str:
    last = builder.op("Transpose", [data], "last", perm=[0, 2, 3, 1])
    return builder.op("Transpose", [last], "p", perm=[0, 3, 1, 2])


@passage("Reshape", "Transpose", "Reshape")
def channel_shuffle(builder: Builder, data: str) -> str:
    groups = builder.op("Reshape", [data, _ints(builder, "s", -1, 2, C // 2, 6, 6)], "groups")
    turned = builder.op("Transpose", [groups], "turned", perm=[0, 2, 1, 3, 4])
    return builder.op("Reshape", [turned, _ints(builder, "t", -1, C, 6, 6)], "p")


@passage("GlobalAveragePool", "Flatten")
def pool_and_flatten(builder: Builder, data: str) -> str:
    return builder.op("Flatten", [builder.op("GlobalAveragePool", [data], "g")], "p")


@passage("Resize")
def resize_by_scales(builder: Builder, data: str) -> str:
    scales = _floats(builder, "scales", 1, 1, 2, 1.5)
    return builder.op("Resize", [data, "", scales], "p", mode="linear")


@passage("Resize")
def resize_to_sizes(builder: Builder, data: str) -> str:
    sizes = _ints(builder, "sizes", 2, C, 9, 4)
    return builder.op("Resize", [data, "", "", sizes], "p", mode="nearest")


@passage("Resize")
def resize_cubic(builder: Builder, data: str) -> str:
    scales = _floats(builder, "scales", 1, 1, 2, 3)
    return builder.op("Resize", [data, "", scales], "p", mode="cubic")


@passage("Pad")
def pad_by_reflection(builder: Builder, data: str) -> str:
    pads = _ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    return builder.op("Pad", [data, pads], "p", mode="reflect")


@passage("Pad")
def pad_by_the_edge(builder: Builder, data: str) -> str:
    pads = _ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    return builder.op("Pad", [data, pads], "p", mode="edge")


@passage("Pad")
def cut_off(builder: Builder, data: str) -> str:
    return builder.op("Pad", [data, _ints(builder, "pads", 0, 0, -1, 0, 0, 0, 0, -2)], "p")


@pytest.mark.parametrize("name", PASSAGES)
def test_the_line_passes(name: str) -> None:
    through, left = PASSAGES[name]
    builder = Builder(len(name))
    builder.normalize(through(builder, _conv(builder)), "y", C)
    result = folds(builder, IMAGE, left)
    assert result.report.layers[0].output == "y"


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_repeats_the_line(mode: str) -> None:
    builder = Builder(3)
    data = builder.op("DepthToSpace", [_conv(builder, out=12)], "p", blocksize=2, mode=mode)
    builder.normalize(data, "y", 3)
    folds(builder, IMAGE, ["Conv", "DepthToSpace"])


def test_space_to_depth_with_a_line_for_each_four_channels() -> None:
    builder = Builder(3)
    data = builder.op("SpaceToDepth", [_conv(builder)], "p", blocksize=2)
    statistics = hostile_statistics(C, builder.random)
    builder.normalize(data, "y", {name: np.tile(array, 4) for name, array in statistics.items()})
    folds(builder, IMAGE, ["Conv", "SpaceToDepth"])


def test_space_to_depth_with_other_lines_is_refused() -> None:
    builder = Builder(3)
    builder.normalize(builder.op("SpaceToDepth", [_conv(builder)], "p", blocksize=2), "y", 4 * C)
    assert "brings channels with different lines together" in refusal(builder, IMAGE)


@pytest.mark.parametrize("op_type", ["MaxPool", "GlobalMaxPool"])
def test_a_maximum_passes_multipliers_that_are_not_negative(op_type: str) -> None:
    builder = Builder(3)
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]} if op_type == "MaxPool" else {}
    builder.normalize(builder.op(op_type, [_conv(builder)], "p", **attributes), "y", rising(C))
    folds(builder, IMAGE, ["Conv", op_type])


def test_a_maximum_refuses_a_negative_multiplier() -> None:
    builder = Builder(3)
    statistics = rising(C)
    statistics["scale"][2] = -0.5
    pooled = builder.op("MaxPool", [_conv(builder)], "p", kernel_shape=[2, 2])
    builder.normalize(pooled, "y", statistics)
    assert "which a multiplier of -0." in refusal(builder, IMAGE)


@pytest.mark.parametrize(
    "attributes",
    [{"pads": [1, 1, 1, 1]}, {"ceil_mode": 1, "strides": [4, 4]}, {"auto_pad": "SAME_LOWER"}],
    ids=str,
)
def test_a_shift_does_not_pass_zeros_that_count(attributes: dict[str, Any]) -> None:
    """The multiplier does; the shift is added behind."""
    builder = Builder(3)
    attributes = attributes | {"kernel_shape": [3, 3], "count_include_pad": 1}
    builder.normalize(builder.op("AveragePool", [_conv(builder)], "p", **attributes), "y", C)
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"], 19)

    result = fold(model)
    assert operators(result.model) == ["Conv", "AveragePool", "Add"]
    assert result.report.layers[0].rule == "conv + add"
    assert result.report.layers[0].output == "y"
    x = builder.random.standard_normal(IMAGE).astype(np.float32)
    assert relative_error(run(model, x=x)[0], run(result.model, x=x)[0]) < 2e-5


def test_a_multiplier_alone_passes_zero_padding() -> None:
    builder = Builder(3)
    pads = _ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    builder.normalize(builder.op("Pad", [_conv(builder), pads], "p"), "y", unshifted(C))
    folds(builder, IMAGE, ["Conv", "Pad"])


def test_a_shift_stays_behind_zero_padding() -> None:
    builder = Builder(3)
    pads = _ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    builder.normalize(builder.op("Pad", [_conv(builder), pads], "p"), "y", C)
    folds(builder, IMAGE, ["Conv", "Pad", "Add"])


def test_padding_with_another_number_is_refused() -> None:
    builder = Builder(3)
    pads = _ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    seven = _floats(builder, "seven", 7)
    builder.constants["seven"] = builder.constants["seven"].reshape(())
    builder.normalize(builder.op("Pad", [_conv(builder), pads, seven], "p"), "y", unshifted(C))
    assert "pads with a number" in refusal(builder, IMAGE)


def test_padding_the_channels_is_refused() -> None:
    builder = Builder(3)
    pads = _ints(builder, "pads", 0, 1, 0, 0, 0, 1, 0, 0)
    builder.normalize(builder.op("Pad", [_conv(builder), pads], "p", mode="edge"), "y", C + 2)
    assert "pads the axis of the channels" in refusal(builder, IMAGE)


@pytest.mark.parametrize("op_type", ["Add", "Mul", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(C,), (1, 1, C), (C, 1)], ids=str)
def test_a_constant_with_as_many_entries_as_channels_is_no_per_channel_one(
    op_type: str, shape: tuple[int, ...]
) -> None:
    """Height and width are C as well: along them the constant must not be taken for channels."""
    builder = Builder(4)
    data = builder.op(op_type, [_conv(builder), builder.weight("k", *shape)], "p")
    builder.normalize(data, "y", C)
    if op_type in ("Add", "Sub"):
        folds(builder, (2, C, C, C), ["Conv", op_type])
    else:
        # No weight can take it in, but the factor takes the multiplier.
        folds(builder, (2, C, C, C), ["Conv", "Mul", "Add"])


def test_a_constant_that_brings_the_channels_is_refused() -> None:
    builder = Builder(4)
    data = builder.op("Mul", [_conv(builder, out=1), builder.weight("k", C, 1, 1)], "p")
    builder.normalize(data, "y", C)
    assert "not known to broadcast" in refusal(builder, IMAGE)


def test_division_by_zero_is_refused() -> None:
    builder = Builder(4)
    builder.normalize(builder.op("Div", [_conv(builder), _floats(builder, "k", 0)], "p"), "y", C)
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"])
    assert "divides by zero" in str(fold(model).report.layers[0].refusal)


def test_a_transposition_that_moves_the_channels_away_is_refused() -> None:
    builder = Builder(4)
    builder.normalize(builder.op("Transpose", [_conv(builder)], "p", perm=[0, 2, 1, 3]), "y", 6)
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_averaging_over_the_channels_is_refused() -> None:
    builder = Builder(4)
    data = builder.op("ReduceMean", [_conv(builder)], "p", axes=[1], keepdims=0)
    builder.normalize(data, "y", 6)
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_resizing_the_channels_is_refused() -> None:
    builder = Builder(4)
    scales = _floats(builder, "scales", 1, 2, 1, 1)
    builder.normalize(builder.op("Resize", [_conv(builder), "", scales], "p"), "y", 2 * C)
    assert "may resize the axis of the channels" in refusal(builder, IMAGE)


def test_cropping_is_refused() -> None:
    builder = Builder(4)
    roi, scales = _floats(builder, "roi", 0, 0, 0, 0, 1, 1, 2, 2), _floats(builder, "s", 1, 1, 2, 2)
    attributes = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    builder.normalize(
        builder.op("Resize", [_conv(builder), roi, scales], "p", **attributes), "y", C
    )
    assert "crops" in refusal(builder, IMAGE)


def test_dropout_that_may_train_is_refused() -> None:
    builder = Builder(4)
    builder.constant("ratio", np.array(0.5, np.float32))
    builder.constant("training", np.array(True))
    builder.normalize(builder.op("Dropout", [_conv(builder), "ratio", "training"], "p"), "y", C)
    assert "may be in training mode" in refusal(builder, IMAGE)


def test_a_cast_that_loses_digits_is_refused() -> None:
    builder = Builder(4)
    half = builder.op("Cast", [_conv(builder)], "half", to=TensorProto.FLOAT16)
    builder.normalize(builder.op("Cast", [half], "p", to=TensorProto.FLOAT), "y", C)
    assert "goes from FLOAT to FLOAT16, which loses digits" in refusal(builder, IMAGE)


def test_half_precision_weights_take_a_layer_behind_a_cast() -> None:
    """As mixed precision is exported: Conv in float16, the layer in float32."""
    builder = Builder(4)
    small = {
        "scale": builder.random.uniform(0.5, 2, C),
        "bias": builder.random.standard_normal(C),
        "mean": builder.random.standard_normal(C),
        "var": builder.random.uniform(0.1, 9, C),
    }
    half = builder.op("Cast", ["x"], "half", to=TensorProto.FLOAT16)
    weight = builder.weight("w", C, C, 3, 3, dtype="float16")
    wide = builder.op("Cast", [builder.op("Conv", [half, weight], "c")], "p", to=TensorProto.FLOAT)
    builder.normalize(wide, "y", {name: array.astype(np.float32) for name, array in small.items()})
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"])
    folded = fold(model).model
    assert operators(folded) == ["Cast", "Conv", "Cast"]
    assert all(t.data_type == TensorProto.FLOAT16 for t in folded.graph.initializer)
    x = builder.random.standard_normal(IMAGE).astype(np.float32)
    reference = evaluate(model, {"x": x})["y"]
    assert relative_error(reference, run(folded, x=x)[0]) < 4e-3  # eight roundoffs of float16


def test_a_reader_of_the_shape_is_no_reader() -> None:
    builder = Builder(4)
    conv = _conv(builder)
    builder.op("Shape", [conv], "shape")
    flat = builder.op("Flatten", [conv], "flat")
    builder.normalize(builder.op("Reshape", [flat, "shape"], "p"), "y", C)
    folds(builder, IMAGE, ["Conv", "Shape", "Flatten", "Reshape"])


def test_flattening_gives_each_place_a_line_of_its_own() -> None:
    builder = Builder(4)
    builder.normalize(builder.op("Flatten", [_conv(builder)], "p"), "y", C * 36)
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_a_matrix_product_that_becomes_an_image() -> None:
    builder = Builder(4)
    gemm = builder.op("Gemm", ["x", builder.weight("w", 3, C * 6)], "g")
    shape = _ints(builder, "shape", -1, C, 2, 3)
    builder.normalize(builder.op("Reshape", [gemm, shape], "p"), "y", C)
    folds(builder, (5, 3), ["Gemm", "Reshape"])


def test_tokens_that_become_rows() -> None:
    """MatMul → Flatten → BatchNormalization → Reshape, as in LeViT."""
    builder = Builder(4)
    product = builder.op("MatMul", ["x", builder.weight("w", 5, C)], "m")
    rows = builder.op("Reshape", [product, _ints(builder, "rows", -1, C)], "rows.out")
    layer = builder.normalize(rows, "n", C)
    builder.op("Reshape", [layer, _ints(builder, "tokens", -1, 7, C)], "y")
    folds(builder, (2, 7, 5), ["MatMul", "Reshape", "Add", "Reshape"])


@pytest.mark.parametrize("equation", ["nhwk,kc->nchw", "nhwk,ck->nchw", "...hwk,kc->...chw"])
def test_einsum_takes_the_multiplier(equation: str) -> None:
    builder = Builder(4)
    shape = (C, 5) if ",ck" in equation else (5, C)
    builder.op("Einsum", ["x", builder.weight("w", *shape)], "e", equation=equation)
    builder.normalize("e", "y", C)
    folds(builder, (2, 3, 6, 5), ["Einsum", "Add"])


def test_einsum_with_other_indices_is_refused() -> None:
    builder = Builder(4)
    builder.op("Einsum", ["x", builder.weight("w", 5, 6)], "e", equation="nck,kd->ncd")
    builder.normalize("e", "y", C)
    assert "has the indices of the channels" in refusal(builder, (2, C, 5))


def test_a_constant_divided_by_the_tensor_is_refused() -> None:
    builder = Builder(4)
    builder.normalize(
        builder.op("Div", [builder.weight("k", C, 1, 1), _conv(builder)], "p"), "y", C
    )
    assert "has no constant factor" in refusal(builder, IMAGE)


def test_channels_that_come_from_the_last_axis() -> None:
    builder = Builder(4)
    product = builder.op(
        "MatMul",
        [
            "x",
            builder.weight("w", 5, C),
        ],
        "m",
    )
    first = builder.op("Transpose", [product], "p", perm=[0, 3, 1, 2])
    builder.normalize(first, "n", C)
    builder.op("Relu", ["n"], "y")
    folds(builder, (2, 3, 6, 5), ["MatMul", "Transpose", "Add", "Relu"])


def test_einsum_with_a_weight_whose_indices_are_in_another_order() -> None:
    builder = Builder(4)
    builder.op("Einsum", ["x", builder.weight("w", 5, 3, C)], "e", equation="nhk,kch->nhc")
    builder.normalize("e", "y", C)
    folds(builder, (2, C, 5), ["Einsum", "Add"])
