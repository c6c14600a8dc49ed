"""Channels that change their axis before a layer: reshapings, matrix products, Einsum."""

import pytest

from tests.folds import folds, refusal
from tests.graphs import Builder
from tests.training.fold.operators.images import IMAGE, C, convolution, ints


def test_a_transposition_that_moves_the_channels_away_is_refused() -> None:
    builder = Builder(4)
    builder.normalize(
        builder.op("Transpose", [convolution(builder)], "p", perm=[0, 2, 1, 3]), "y", 6
    )
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_averaging_over_the_channels_is_refused() -> None:
    builder = Builder(4)
    data = builder.op("ReduceMean", [convolution(builder)], "p", axes=[1], keepdims=0)
    builder.normalize(data, "y", 6)
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_a_reader_of_the_shape_is_no_reader() -> None:
    builder = Builder(4)
    conv = convolution(builder)
    builder.op("Shape", [conv], "shape")
    flat = builder.op("Flatten", [conv], "flat")
    builder.normalize(builder.op("Reshape", [flat, "shape"], "p"), "y", C)
    folds(builder, IMAGE, ["Conv", "Shape", "Flatten", "Reshape"])


def test_flattening_gives_each_place_a_line_of_its_own() -> None:
    builder = Builder(4)
    builder.normalize(builder.op("Flatten", [convolution(builder)], "p"), "y", C * 36)
    assert "whose channels are axis 1" in refusal(builder, IMAGE)


def test_a_matrix_product_that_becomes_an_image() -> None:
    builder = Builder(4)
    gemm = builder.op("Gemm", ["x", builder.weight("w", 3, C * 6)], "g")
    shape = ints(builder, "shape", -1, C, 2, 3)
    builder.normalize(builder.op("Reshape", [gemm, shape], "p"), "y", C)
    folds(builder, (5, 3), ["Gemm", "Reshape"])


def test_tokens_that_become_rows() -> None:
    """MatMul → Flatten → BatchNormalization → Reshape, as in LeViT."""
    builder = Builder(4)
    product = builder.op("MatMul", ["x", builder.weight("w", 5, C)], "m")
    rows = builder.op("Reshape", [product, ints(builder, "rows", -1, C)], "rows.out")
    layer = builder.normalize(rows, "n", C)
    builder.op("Reshape", [layer, ints(builder, "tokens", -1, 7, C)], "y")
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
