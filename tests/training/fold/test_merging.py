"""Parallel linear branches into one convolution: fires, equals, refuses. The oracle is float64."""

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graphs import Builder, operators
from tests.training.fold.branches import C, bn, convolution, equal, image, network
from training.fold import FoldResult, fold, folded_layers


def _merged(builder: Builder, into: str, model: onnx.ModelProto | None = None) -> FoldResult:
    """Folds, and checks that one convolution is left, equal to the network."""
    model = model or network(builder)
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    assert [merge.into for merge in result.report.merges] == [into]
    spatial = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:]]
    equal(model, result.model, image(builder, spatial))
    return result


@pytest.mark.parametrize("group", [1, 2, C])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_repvgg_becomes_one_convolution(axes: int, group: int) -> None:
    builder = Builder(axes)
    big = bn(builder, convolution(builder, "big", [3] * axes, group=group), "big.bn")
    small = bn(
        builder, convolution(builder, "small", [1] * axes, group=group, bias=True), "small.bn"
    )
    both = builder.op("Add", [big, small], "both")
    builder.op("Add", [both, bn(builder, "x", "identity.bn")], "y", name="join")
    result = _merged(builder, "big", network(builder, spatial=[7] * axes))
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
        convolution(builder, name, kernel, bias=index % 2 == 0)
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
    small = convolution(builder, "small", **({"kernel": (1, 1)} | other))
    builder.op("Add", [small, convolution(builder, "big", **host)], "y")
    result = fold(model := network(builder))
    assert operators(result.model) == ["Conv"]
    equal(model, result.model, image(builder))


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
    small = convolution(builder, "small", **({"kernel": (1, 1)} | other))
    builder.op("Add", [small, convolution(builder, "big", **host)], "y")
    result = fold(network(builder, spatial=(size, size)))
    (merge,) = result.report.merges
    assert merge.refusal is not None
    assert f"differ in {words}" in merge.refusal
    assert operators(result.model) == ["Conv", "Conv", "Add"]


def test_a_pooling_that_counts_its_padding_is_a_convolution() -> None:
    builder = Builder(4)
    pool = builder.op(
        "AveragePool", ["x"], "p", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1
    )
    big = bn(builder, convolution(builder, "big"), "n")
    builder.op("Add", [big, bn(builder, pool, "pn")], "y")
    _merged(builder, "big")


@pytest.mark.parametrize(("attribute", "value"), [("count_include_pad", 0), ("ceil_mode", 1)])
def test_a_pooling_that_changes_at_the_border_is_refused(attribute: str, value: int) -> None:
    builder = Builder(4)
    attributes = {"count_include_pad": 1, "ceil_mode": 0, attribute: value}
    pool = builder.op("AveragePool", ["x"], "p", kernel_shape=[3, 3], pads=[1] * 4, **attributes)
    builder.op("Add", [convolution(builder, "big"), pool], "y")
    (merge,) = fold(network(builder)).report.merges
    assert merge.refusal is not None
    assert merge.refusal.endswith("so its weights change at the border")


def test_fastvit_mixes_by_differences_and_a_scale_of_its_own() -> None:
    """x + γ·(mixer(x) - norm(x)), with constants on either side and a layer behind the sum."""
    builder = Builder(5)
    mixer = builder.op(
        "Add", [bn(builder, convolution(builder, "m", group=C), "m.bn"), "x"], "mixer"
    )
    less = builder.op("Sub", [mixer, bn(builder, "x", "norm")], "less")
    scaled = builder.op("Mul", [builder.weight("gamma", C, 1, 1), less], "scaled")
    shifted = builder.op("Add", [scaled, builder.weight("shift", 1, C, 1, 1)], "shifted")
    halved = builder.op(
        "Div", [shifted, builder.constant("two", np.array(2, np.float32))], "halved"
    )
    result = _merged_last(builder, builder.op("Add", ["x", halved], "sum"))
    assert [layer.output for layer in result.report.layers] == [None, None, "y"]


def _merged_last(builder: Builder, data: str) -> FoldResult:
    bn(builder, data, "y")
    return _merged(builder, "m")
