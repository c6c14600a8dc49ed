"""ConvTranspose, a layer behind it or before it: fires, equals, refuses."""

from typing import Any

import numpy as np
import pytest

from tests.folds import folds, refusal, unshifted
from tests.graphs import Builder

CASES: list[dict[str, Any]] = [
    {},
    {"strides": 2},
    {"strides": 2, "pads": 1, "output_padding": 1},
    {"strides": 3, "dilations": 2, "pads": 1},
]


def _attributes(axes: int, given: dict[str, Any]) -> dict[str, Any]:
    count = {"strides": axes, "dilations": axes, "output_padding": axes, "pads": 2 * axes}
    return {name: [value] * count[name] for name, value in given.items()}


@pytest.mark.parametrize("given", CASES, ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_it_takes_the_line_behind_it(
    axes: int, group: int, bias: bool, given: dict[str, Any]
) -> None:
    builder = Builder(axes)
    inputs = ["x", builder.weight("w", 4, 6 // group if group != 4 else 2, *[3] * axes)]
    channels = builder.constants["w"].shape[1] * group
    inputs += [builder.weight("b", channels)] * bias
    attributes = _attributes(axes, given)
    builder.op("ConvTranspose", inputs, "c", group=group, **attributes)
    builder.normalize("c", "y", channels)
    folds(builder, (2, 4, *[4] * axes), ["ConvTranspose"])


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("axes", [1, 2])
def test_a_shift_passes_forward_where_every_output_sees_every_tap(axes: int, group: int) -> None:
    builder = Builder(axes)
    builder.normalize("x", "n", 4)
    inputs = ["n", builder.weight("w", 4, 3, *[3] * axes), builder.weight("b", 3 * group)]
    attributes = _attributes(axes, {"pads": 4, "dilations": 2})
    builder.op("ConvTranspose", inputs, "y", group=group, **attributes)
    folds(builder, (2, 4, *[9] * axes), ["ConvTranspose"])


def _upsampling(builder: Builder, weight: np.ndarray[Any, Any], **attributes: Any) -> None:
    builder.normalize("x", "n", 4)
    builder.op("ConvTranspose", ["n", builder.constant("w", weight)], "y", **attributes)


def test_a_shift_passes_forward_where_each_tap_adds_the_same() -> None:
    builder = Builder(2)
    weight = np.repeat(builder.random.standard_normal((4, 3, 1, 1)), 2, axis=2).repeat(2, axis=3)
    _upsampling(builder, weight.astype(np.float32), strides=[2, 2])
    folds(builder, (2, 4, 3, 3), ["ConvTranspose"])


def test_a_multiplier_alone_passes_any_forward() -> None:
    builder = Builder(2)
    builder.normalize("x", "n", unshifted(4))
    weight = builder.weight("w", 4, 3, 3, 3)
    builder.op("ConvTranspose", ["n", weight], "y", strides=[2, 2], pads=[1, 1, 0, 0], group=2)
    folds(builder, (2, 4, 5, 5), ["ConvTranspose"])


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [3, 3]},
        {"pads": [2, 2, 1, 2]},
        {},
        {"pads": [2] * 4, "output_padding": [0, 0], "strides": [2, 2]},
    ],
    ids=str,
)
def test_outputs_that_see_different_taps_are_refused(attributes: dict[str, Any]) -> None:
    builder = Builder(2)
    _upsampling(builder, builder.random.standard_normal((4, 3, 3, 3)).astype("f"), **attributes)
    assert "see different taps" in refusal(builder, (2, 4, 5, 5))


def test_a_layer_on_the_weight_is_refused() -> None:
    builder = Builder()
    builder.normalize("x", "n", 4)
    builder.op("ConvTranspose", [builder.weight("data", 1, 2, 3, 3), "n"], "y")
    assert "it is the weight of" in refusal(builder, (2, 4, 2, 2))
