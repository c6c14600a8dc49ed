"""What operators compute of constants, against ONNX Runtime; and what is not evaluated."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Array, run
from training.constant_operators import EVALUATED
from training.graph import constant

RNG = np.random.default_rng(0)
A = RNG.uniform(0.5, 2, (3, 4)).astype(np.float32)
B = RNG.uniform(0.5, 2, (3, 4)).astype(np.float32)
TRUE = np.array([[True], [False], [True]])


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


Case = tuple[list[Array], dict[str, Any]]
CASES: dict[str, Case] = {
    **{name: ([A], {}) for name in ("Abs", "Ceil", "Exp", "Floor", "Log", "Neg", "Reciprocal")},
    **{name: ([A], {}) for name in ("Sigmoid", "Softplus", "Sqrt", "Tanh", "Shape", "Size")},
    **{name: ([A, B], {}) for name in ("Add", "Div", "Equal", "Greater", "Less", "Max", "Min")},
    **{name: ([A, B], {}) for name in ("Mul", "Pow", "Sub", "Sum")},
    **{name: ([A], {"axes": [1]}) for name in ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean")},
    **{name: ([A], {"axes": [0]}) for name in ("ReduceMin", "ReduceProd", "ReduceSumSquare")},
    "ReduceSum": ([A, ints(0)], {"keepdims": 0}),
    "And": ([TRUE, ~TRUE], {}),
    "Or": ([TRUE, ~TRUE], {}),
    "Not": ([TRUE], {}),
    "Mod": ([A, B], {"fmod": 1}),
    "Where": ([TRUE, A, B], {}),
    "Cast": ([A], {"to": TensorProto.FLOAT16}),
    "CastLike": ([A, np.zeros(1, np.float16)], {}),
    "Clip": ([A, np.array(0.7, np.float32), np.array(1.5, np.float32)], {}),
    "Concat": ([A, B], {"axis": 1}),
    "ConstantOfShape": ([ints(2, 3)], {"value": numpy_helper.from_array(np.array([7.0]))}),
    "Expand": ([A, ints(2, 3, 4)], {}),
    "Flatten": ([A], {"axis": 0}),
    "Gather": ([A, ints(2, 0)], {"axis": 1}),
    "Gemm": ([A, B], {"transB": 1, "alpha": 0.5}),
    "MatMul": ([A, B.T.copy()], {}),
    "Range": ([np.array(1, np.float32), np.array(5, np.float32), np.array(1.5, np.float32)], {}),
    "Reshape": ([A, ints(2, -1)], {}),
    "Slice": ([A, ints(1), ints(4), ints(1), ints(2)], {}),
    "Split": ([A, ints(3, 1)], {"axis": 1}),
    "Squeeze": ([A[None], ints(0)], {}),
    "Tile": ([A, ints(2, 1)], {}),
    "Transpose": ([A], {"perm": [1, 0]}),
    "Unsqueeze": ([A, ints(0, 3)], {}),
}


def _model(op_type: str, inputs: list[Array], attributes: dict[str, Any]) -> onnx.ModelProto:
    names = [f"c{k}" for k in range(len(inputs))]
    outputs = ["y", "z"] if op_type == "Split" else ["y"]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, outputs, **attributes)],
        "graph",
        [],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in zip(names, inputs, strict=True)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return onnx.shape_inference.infer_shapes(model)


def test_every_operator_that_is_evaluated_has_a_case() -> None:
    assert set(CASES) == EVALUATED


@pytest.mark.parametrize("op_type", CASES)
def test_what_an_operator_computes_is_what_onnx_runtime_computes(op_type: str) -> None:
    model = _model(op_type, *CASES[op_type])
    expected = run(model)
    for output, array in zip(ir.from_proto(model).graph.outputs, expected, strict=True):
        held = constant(output)
        assert held is not None
        assert (held.shape, held.dtype) == (array.shape, array.dtype)
        np.testing.assert_allclose(held, array, rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("RandomNormalLike", [A], {}),
        ("DequantizeLinear", [np.zeros((3, 4), np.int8), np.array(0.1, np.float32)], {}),
        ("ConstantOfShape", [ints(1 << 13, 1 << 13)], {}),
        ("Expand", [A, ints(1 << 12, 1 << 12, 3, 4)], {}),
        ("Reshape", [A, ints(5, 5)], {}),
        ("MatMul", [A, A], {}),
    ],
)
def test_what_is_random_quantized_too_large_or_invalid_is_no_constant(
    op_type: str, inputs: list[Array], attributes: dict[str, Any]
) -> None:
    (output,) = ir.from_proto(_model(op_type, inputs, attributes)).graph.outputs
    assert constant(output) is None


def test_what_is_computed_of_an_overridable_initializer_is_no_constant() -> None:
    model = _model("Abs", [A], {})
    model.graph.input.append(helper.make_tensor_value_info("c0", TensorProto.FLOAT, [3, 4]))
    (output,) = ir.from_proto(model).graph.outputs
    assert constant(output) is None


def test_a_long_chain_is_no_deep_recursion() -> None:
    nodes = [helper.make_node("Neg", [f"v{k}"], [f"v{k + 1}"]) for k in range(3000)]
    value = helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1])
    last = helper.make_tensor_value_info("v3000", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph(nodes, "graph", [value], [last]))
    (output,) = ir.from_proto(model).graph.outputs
    assert constant(output) is None
