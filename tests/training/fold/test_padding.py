"""Zero padding before a convolution: it goes into the convolution, or stays."""

from typing import Any

import numpy as np
import onnx
import pytest

from tests.folds import equal
from tests.graphs import Builder, operators
from training.fold import fold

C = 3
AROUND = [0, 0, 1, 0, 0, 0, 2, 3]


def _network(
    sizes: list[int],
    opset: int = 17,
    value: float | None = None,
    mode: str = "constant",
    **conv: Any,
) -> onnx.ModelProto:
    builder = Builder()
    if opset < 11:
        given: dict[str, Any] = {} if value is None else {"value": value}
        builder.op("Pad", ["x"], "p", pads=sizes, mode=mode, **given)
    else:
        inputs = ["x", builder.constant("sizes", np.array(sizes))]
        if value is not None:
            inputs.append(builder.constant("value", np.array(value, np.float32)))
        builder.op("Pad", inputs, "p", mode=mode)
    channels = C + sizes[1] + sizes[5]
    builder.op("Conv", ["p", builder.weight("w", 4, channels, 3, 3)], "c", **conv)
    builder.normalize("c", "y", 4)
    return builder.model({"x": ["N", C, 7, 7]}, ["y"], opset=opset)


def _picture() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    rows = np.random.default_rng(0).standard_normal((2, C, 7, 7))
    return {"x": rows.astype(np.float32)}


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17])
@pytest.mark.parametrize(
    "conv",
    [
        {},
        {"pads": [1, 2, 0, 1], "strides": [2, 1]},
        {"auto_pad": "VALID", "dilations": [2, 2]},
        {"auto_pad": "NOTSET", "pads": [1] * 4},
    ],
)
def test_zeros_around_a_picture_go_into_the_convolution(opset: int, conv: dict[str, Any]) -> None:
    model = _network(AROUND, opset, **conv)
    result = fold(model)
    assert operators(result.model) == ["Conv"]
    assert {t.name for t in result.model.graph.initializer}.isdisjoint({"sizes", "value"})
    own = conv.get("pads", [0] * 4)
    (pads,) = (a.ints for a in result.model.graph.node[0].attribute if a.name == "pads")
    assert list(pads) == [1 + own[0], own[1], 2 + own[2], 3 + own[3]]
    equal(model, result.model, _picture())


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_a_zero_that_is_given_is_one(value: float) -> None:
    assert operators(fold(_network(AROUND, value=value)).model) == ["Conv"]


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        (AROUND, {"value": 0.5}),
        (AROUND, {"mode": "reflect"}),
        (AROUND, {"mode": "edge"}),
        (AROUND, {"auto_pad": "SAME_UPPER"}),
        ([0, 0, -1, 0, 0, 0, 1, 1], {}),
        ([0, 1, 0, 0, 0, 0, 0, 0], {}),
        ([1, 0, 0, 0, 0, 0, 0, 0], {}),
    ],
)
def test_anything_else_stays(sizes: list[int], options: dict[str, Any]) -> None:
    model = _network(sizes, **options)
    result = fold(model)
    assert operators(result.model) == ["Pad", "Conv"]
    equal(model, result.model, _picture())


def test_what_somebody_else_reads_stays() -> None:
    builder = Builder()
    builder.op("Pad", ["x", builder.constant("sizes", np.array(AROUND))], "p")
    builder.op("Conv", ["p", builder.weight("w", C, C, 1, 1)], "c")
    model = builder.model({"x": ["N", C, 7, 7]}, ["c", "p"])
    assert operators(fold(model).model) == ["Pad", "Conv"]
