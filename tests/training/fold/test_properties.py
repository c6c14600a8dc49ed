"""Any chain of producers and layers: the fold equals the float64 evaluation, whatever the numbers.

The bound is a priori: a network of n roundings errs by at most about n·u·(|W|·|x| + |b|) per
layer, carried through the layers behind. So it is the same network with every constant, and the
input, replaced by its absolute value.
"""

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from tests.graphs import Array, Builder, operators, run
from training.fold import fold
from training.fold.float64 import evaluate

ROUNDOFF = 2.0**-24
# Products in the longest sum (4 channels × 9 taps) and a few operations more, for each layer.
ROUNDINGS_PER_LAYER = 40
C = 4


@st.composite
def chains(draw: st.DrawFn) -> tuple[onnx.ModelProto, int]:
    """A chain of one to three (producer, layers) in 2-d or as a matrix, with its layer count."""
    builder = Builder(draw(st.integers(0, 2**16)))
    matrix, data = draw(st.booleans()), "x"
    for index in range(draw(st.integers(1, 3))):
        data = (_matrix_product if matrix else _convolution)(draw, builder, data, index)
        for again in range(draw(st.sampled_from([1, 1, 1, 2]))):
            epsilon = draw(st.sampled_from([1e-5, 1e-3, 1e-12]))
            data = builder.normalize(data, f"n{index}.{again}", C, epsilon=epsilon)
    layers = sum(node.op_type == "BatchNormalization" for node in builder.nodes)
    shape: list[int | str | None] = ["N", C] if matrix else ["N", C, 5, 5]
    return builder.model({"x": shape}, [data]), layers


def _convolution(draw: st.DrawFn, builder: Builder, data: str, index: int) -> str:
    group, kernel = draw(st.sampled_from([1, 2, C])), draw(st.sampled_from([1, 3]))
    inputs = [data, builder.weight(f"w{index}", C, C // group, kernel, kernel)]
    if draw(st.booleans()):
        inputs.append(builder.weight(f"b{index}", C))
    pads = [kernel // 2] * 4
    strides = draw(st.sampled_from([[1, 1], [2, 1]]))
    return builder.op("Conv", inputs, f"c{index}", group=group, pads=pads, strides=strides)


def _matrix_product(draw: st.DrawFn, builder: Builder, data: str, index: int) -> str:
    inputs, shape = (
        [data, builder.weight(f"w{index}", C, C)],
        draw(st.sampled_from([(C,), (1,), ()])),
    )
    if draw(st.booleans()):
        product = builder.op("MatMul", inputs, f"p{index}")
        if draw(st.booleans()):
            return product
        return builder.op("Add", [product, builder.weight(f"b{index}", *shape)], f"a{index}")
    factors = {name: draw(st.sampled_from([1.0, -0.5, 3.0])) for name in ("alpha", "beta")}
    if draw(st.booleans()):
        inputs.append(builder.weight(f"b{index}", *shape))
    transposed = draw(st.integers(0, 1))
    return builder.op("Gemm", inputs, f"g{index}", transB=transposed, **factors)


def _magnitudes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network of absolute values: every sum becomes a sum of magnitudes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        array = np.abs(numpy_helper.to_array(tensor))
        # x - mean becomes |x| + |mean|.
        array = -array if tensor.name.endswith(".mean") else array
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("alpha", "beta"):
                attribute.f = abs(attribute.f)
    return copy


@settings(max_examples=150, deadline=None, derandomize=True)
@given(chains(), st.integers(0, 2**16))
def test_a_folded_chain_equals_the_float64_evaluation(
    chain: tuple[onnx.ModelProto, int], seed: int
) -> None:
    model, layers = chain
    result = fold(model)
    assert "BatchNormalization" not in operators(result.model)
    shape = (2, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]))
    x: Array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    output = model.graph.output[0].name
    expected = evaluate(model, {"x": x})[output]
    bound = evaluate(_magnitudes(model), {"x": np.abs(x)})[output]
    roundings = ROUNDINGS_PER_LAYER * layers
    assert (np.abs(run(result.model, x=x)[0] - expected) <= roundings * ROUNDOFF * bound).all()
