"""What a line passes backward in part, under a condition or not at all, and what is then said."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.folds import folds, refusal, rising, unshifted
from tests.graphs import Builder, hostile_statistics, operators, run
from tests.training.fold.operators.images import IMAGE, C, convolution, floats, ints
from training.fold import fold
from training.fold.equivalence import relative_error
from training.fold.float64 import evaluate


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_repeats_the_line(mode: str) -> None:
    builder = Builder(3)
    data = builder.op("DepthToSpace", [convolution(builder, out=12)], "p", blocksize=2, mode=mode)
    builder.normalize(data, "y", 3)
    folds(builder, IMAGE, ["Conv", "DepthToSpace"])


def test_space_to_depth_with_a_line_for_each_four_channels() -> None:
    builder = Builder(3)
    data = builder.op("SpaceToDepth", [convolution(builder)], "p", blocksize=2)
    statistics = hostile_statistics(C, builder.random)
    builder.normalize(data, "y", {name: np.tile(array, 4) for name, array in statistics.items()})
    folds(builder, IMAGE, ["Conv", "SpaceToDepth"])


def test_space_to_depth_with_other_lines_is_refused() -> None:
    builder = Builder(3)
    builder.normalize(
        builder.op("SpaceToDepth", [convolution(builder)], "p", blocksize=2), "y", 4 * C
    )
    assert "brings channels with different lines together" in refusal(builder, IMAGE)


@pytest.mark.parametrize("op_type", ["MaxPool", "GlobalMaxPool"])
def test_a_maximum_passes_multipliers_that_are_not_negative(op_type: str) -> None:
    builder = Builder(3)
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]} if op_type == "MaxPool" else {}
    builder.normalize(
        builder.op(op_type, [convolution(builder)], "p", **attributes), "y", rising(C)
    )
    folds(builder, IMAGE, ["Conv", op_type])


def test_a_maximum_refuses_a_negative_multiplier() -> None:
    builder = Builder(3)
    statistics = rising(C)
    statistics["scale"][2] = -0.5
    pooled = builder.op("MaxPool", [convolution(builder)], "p", kernel_shape=[2, 2])
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
    builder.normalize(builder.op("AveragePool", [convolution(builder)], "p", **attributes), "y", C)
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"], 19)

    result = fold(model)
    assert operators(result.model) == ["Conv", "AveragePool", "Add"]
    assert result.report.layers[0].rule == "conv + add"
    assert result.report.layers[0].output == "y"
    x = builder.random.standard_normal(IMAGE).astype(np.float32)
    assert relative_error(run(model, x=x)[0], run(result.model, x=x)[0]) < 2e-5


def test_a_multiplier_alone_passes_zero_padding() -> None:
    builder = Builder(3)
    pads = ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    builder.normalize(builder.op("Pad", [convolution(builder), pads], "p"), "y", unshifted(C))
    folds(builder, IMAGE, ["Conv", "Pad"])


def test_a_shift_stays_behind_zero_padding() -> None:
    builder = Builder(3)
    pads = ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    builder.normalize(builder.op("Pad", [convolution(builder), pads], "p"), "y", C)
    folds(builder, IMAGE, ["Conv", "Pad", "Add"])


def test_padding_with_another_number_is_refused() -> None:
    builder = Builder(3)
    pads = ints(builder, "pads", 0, 0, 1, 2, 0, 0, 2, 1)
    seven = floats(builder, "seven", 7)
    builder.constants["seven"] = builder.constants["seven"].reshape(())
    builder.normalize(
        builder.op("Pad", [convolution(builder), pads, seven], "p"), "y", unshifted(C)
    )
    assert "pads with a number" in refusal(builder, IMAGE)


def test_padding_the_channels_is_refused() -> None:
    builder = Builder(3)
    pads = ints(builder, "pads", 0, 1, 0, 0, 0, 1, 0, 0)
    builder.normalize(builder.op("Pad", [convolution(builder), pads], "p", mode="edge"), "y", C + 2)
    assert "pads the axis of the channels" in refusal(builder, IMAGE)


@pytest.mark.parametrize("op_type", ["Add", "Mul", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(C,), (1, 1, C), (C, 1)], ids=str)
def test_a_constant_with_as_many_entries_as_channels_is_no_per_channel_one(
    op_type: str, shape: tuple[int, ...]
) -> None:
    """Height and width are C as well: along them the constant must not be taken for channels."""
    builder = Builder(4)
    data = builder.op(op_type, [convolution(builder), builder.weight("k", *shape)], "p")
    builder.normalize(data, "y", C)
    if op_type in ("Add", "Sub"):
        folds(builder, (2, C, C, C), ["Conv", op_type])
    else:
        # No weight can take it in, but the factor takes the multiplier.
        folds(builder, (2, C, C, C), ["Conv", "Mul", "Add"])


def test_a_constant_that_brings_the_channels_is_refused() -> None:
    builder = Builder(4)
    data = builder.op("Mul", [convolution(builder, out=1), builder.weight("k", C, 1, 1)], "p")
    builder.normalize(data, "y", C)
    assert "not known to broadcast" in refusal(builder, IMAGE)


def test_division_by_zero_is_refused() -> None:
    builder = Builder(4)
    builder.normalize(
        builder.op("Div", [convolution(builder), floats(builder, "k", 0)], "p"), "y", C
    )
    model = builder.model({"x": ["N", *IMAGE[1:]]}, ["y"])
    assert "divides by zero" in str(fold(model).report.layers[0].refusal)


def test_resizing_the_channels_is_refused() -> None:
    builder = Builder(4)
    scales = floats(builder, "scales", 1, 2, 1, 1)
    builder.normalize(builder.op("Resize", [convolution(builder), "", scales], "p"), "y", 2 * C)
    assert "may resize the axis of the channels" in refusal(builder, IMAGE)


def test_cropping_is_refused() -> None:
    builder = Builder(4)
    roi, scales = floats(builder, "roi", 0, 0, 0, 0, 1, 1, 2, 2), floats(builder, "s", 1, 1, 2, 2)
    attributes = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    builder.normalize(
        builder.op("Resize", [convolution(builder), roi, scales], "p", **attributes), "y", C
    )
    assert "crops" in refusal(builder, IMAGE)


def test_dropout_that_may_train_is_refused() -> None:
    builder = Builder(4)
    builder.constant("ratio", np.array(0.5, np.float32))
    builder.constant("training", np.array(True))
    builder.normalize(
        builder.op("Dropout", [convolution(builder), "ratio", "training"], "p"), "y", C
    )
    assert "may be in training mode" in refusal(builder, IMAGE)


def test_a_cast_that_loses_digits_is_refused() -> None:
    builder = Builder(4)
    half = builder.op("Cast", [convolution(builder)], "half", to=TensorProto.FLOAT16)
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


def test_a_constant_divided_by_the_tensor_is_refused() -> None:
    builder = Builder(4)
    builder.normalize(
        builder.op("Div", [builder.weight("k", C, 1, 1), convolution(builder)], "p"), "y", C
    )
    assert "has no constant factor" in refusal(builder, IMAGE)
