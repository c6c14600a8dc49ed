"""What computes nothing goes, and only that: fires, equals, refuses; names are kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Array, Builder, operators, run
from training.fold import FoldResult, fold
from training.fold.float64 import evaluate

C = 4
SHAPE = ("N", C, 6, 6)
Put = Callable[[Builder, str], str]


def _ints(builder: Builder, name: str, *values: int) -> str:
    return builder.constant(name, np.array(values, np.int64))


def _floats(builder: Builder, name: str, values: Any) -> str:
    return builder.constant(name, np.array(values, np.float32))


def _feeds(shape: tuple[int | str, ...], rows: int) -> dict[str, Array]:
    sizes = [rows if isinstance(size, str) else size for size in shape]
    return {"x": np.random.default_rng(rows).standard_normal(sizes).astype(np.float32)}


def _same(model: onnx.ModelProto, result: FoldResult, shape: tuple[int | str, ...]) -> None:
    """Equal in every bit, in ONNX Runtime and in float64, for one row and for several."""
    onnx.checker.check_model(result.model, full_check=True)
    for field in ("input", "output"):
        assert getattr(result.model.graph, field) == getattr(model.graph, field)
    for rows in (1, 3):
        feeds = _feeds(shape, rows)
        before, after = evaluate(model, feeds), evaluate(result.model, feeds)
        for output in model.graph.output:
            assert np.array_equal(before[output.name], after[output.name])
        for ours, theirs in zip(
            run(model, False, **feeds), run(result.model, False, **feeds), strict=True
        ):
            assert np.array_equal(ours, theirs)


def _leaves(
    put: Put, left: list[str], shape: tuple[int | str, ...] = SHAPE, opset: int = 17
) -> FoldResult:
    """Relu, what `put` puts behind it, Sigmoid: `left` are the operators between that are left."""
    builder = Builder()
    builder.op("Sigmoid", [put(builder, builder.op("Relu", ["x"], "r"))], "y")
    model = builder.model({"x": shape}, ["y"], opset)
    result = fold(model)
    assert operators(result.model) == ["Relu", *left, "Sigmoid"]
    _same(model, result, shape)
    return result


NO_OPS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "identity": ("Identity", [], {}),
    "dropout": ("Dropout", [], {}),
    "dropout with a ratio": ("Dropout", [0.7], {}),
    "dropout that does not train": ("Dropout", [0.7, np.array(False)], {}),
    "cast": ("Cast", [], {"to": TensorProto.FLOAT}),
    "reshape": ("Reshape", [np.array([-1, C, 6, 6])], {}),
    "reshape that copies": ("Reshape", [np.array([0, 0, -1, 6])], {}),
    "transpose": ("Transpose", [], {"perm": [0, 1, 2, 3]}),
    "concat": ("Concat", [], {"axis": 1}),
    "sum": ("Sum", [], {}),
    "max": ("Max", [], {}),
    "min": ("Min", [], {}),
    "mean": ("Mean", [], {}),
    "pad": ("Pad", [np.zeros(8, np.int64)], {"mode": "reflect"}),
    "add": ("Add", [0.0], {}),
    "add of zeros per channel": ("Add", [np.zeros((C, 1, 6))], {}),
    "sub": ("Sub", [0.0], {}),
    "mul": ("Mul", [np.ones((1, C, 6, 1))], {}),
    "div": ("Div", [1.0], {}),
}
STAY: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "reshape": ("Reshape", [np.array([-1, 6, C, 6])], {}),
    "transpose": ("Transpose", [], {"perm": [0, 1, 3, 2]}),
    "transpose that reverses": ("Transpose", [], {}),
    "flatten": ("Flatten", [], {}),
    "concat": ("Concat", ["r"], {"axis": 1}),
    "max": ("Max", ["x"], {}),
    "pad": ("Pad", [np.array([0, 0, 0, 1, 0, 0, 0, 0])], {}),
    "add that widens": ("Add", [np.zeros((1, 1, 1, 6, 6))], {}),
    "add that may widen the batch": ("Add", [np.zeros((3, C, 1, 1))], {}),
    "add of nearly zero": ("Add", [np.array([0, 0, 0, 0, 0, 1e-30])], {}),
    "sub from": ("Sub", [0.0], {"first": True}),
    "mul": ("Mul", [np.array([1, 1, 1, 1, 1, 2])], {}),
    "one divided": ("Div", [1.0], {"first": True}),
}


def _put(op_type: str, operands: list[Any], attributes: dict[str, Any]) -> Put:
    def put(builder: Builder, data: str) -> str:
        names, given = [data], dict(attributes)
        for index, operand in enumerate(operands):
            array = np.asarray(operand)
            if array.dtype == np.float64:
                array = array.astype(np.float32)
            names += [operand if isinstance(operand, str) else builder.constant(f"k{index}", array)]
        order = names[::-1] if given.pop("first", False) else names
        return builder.op(op_type, order, "p", **given)

    return put


@pytest.mark.parametrize("name", NO_OPS)
def test_what_computes_nothing_goes(name: str) -> None:
    result = _leaves(_put(*NO_OPS[name]), [])
    assert not result.model.graph.initializer


@pytest.mark.parametrize("name", ["add", "mul"])
def test_the_constant_may_come_first(name: str) -> None:
    op_type, operands, _ = NO_OPS[name]
    _leaves(_put(op_type, operands, {"first": True}), [])


@pytest.mark.parametrize("name", STAY)
def test_what_computes_something_stays(name: str) -> None:
    builder = Builder()
    put = _put(*STAY[name])
    builder.op("Relu", [put(builder, builder.op("Relu", ["x"], "r"))], "y")
    model = builder.model({"x": SHAPE}, ["y"])
    assert fold(model).model.graph == model.graph


def test_a_neutral_constant_that_widens_a_size_of_one_stays() -> None:
    def put(builder: Builder, data: str) -> str:
        return builder.op("Add", [data, _floats(builder, "zeros", np.zeros(6))], "p")

    _leaves(put, ["Add"], ("N", 1))


def test_a_cast_to_another_type_and_back_stays() -> None:
    def put(builder: Builder, data: str) -> str:
        half = builder.op("Cast", [data], "half", to=TensorProto.FLOAT16)
        return builder.op("Cast", [half], "p", to=TensorProto.FLOAT)

    builder = Builder()
    builder.op("Sigmoid", [put(builder, builder.op("Relu", ["x"], "r"))], "y")
    model = builder.model({"x": SHAPE}, ["y"])
    assert fold(model).model.graph == model.graph


def test_a_flattening_of_two_dimensions_goes() -> None:
    _leaves(lambda b, data: b.op("Flatten", [data], "p"), [], ("N", 5))
    _leaves(lambda b, data: b.op("Flatten", [data], "p", axis=0), ["Flatten"], ("N", 5))


@pytest.mark.parametrize("target", [(0, -1, 0), (-1, 0, 0), (0, 0, 5)])
def test_a_reshape_that_copies_what_is_free_goes(target: tuple[int, ...]) -> None:
    put = _put("Reshape", [np.array(target)], {})
    builder = Builder()
    builder.op("Relu", [put(builder, builder.op("Relu", ["x"], "r"))], "y")
    assert operators(fold(builder.model({"x": ["N", "M", 5]}, ["y"])).model) == ["Relu", "Relu"]


def test_a_reshape_that_swaps_free_sizes_stays() -> None:
    """[N, M, 5] to [M, N, 5], by the network's own arithmetic; its declared names prove nothing."""
    builder = Builder()
    builder.op("Shape", ["x"], "s")
    builder.op("Gather", ["s", _ints(builder, "order", 1, 0, 2)], "t")
    builder.op("Reshape", [builder.op("Relu", ["x"], "r"), "t"], "y")
    model = builder.model({"x": ["N", "M", 5]}, ["y"])
    assert fold(model).model.graph == model.graph


def test_dropout_that_may_train_or_gives_its_mask_stays() -> None:
    builder = Builder()
    builder.constant("ratio", np.array(0.5, np.float32))
    builder.constant("trains", np.array(True))
    builder.op("Dropout", [builder.op("Relu", ["x"], "r"), "ratio", "trains"], "d")
    masked = helper.make_node("Dropout", ["r"], ["e", "mask"], name="masked")
    builder.nodes.append(masked)
    builder.op("Not", ["mask"], "none")
    total = builder.op("Add", ["d", "e"], "sum")
    builder.op("Where", ["none", "x", total], "y")
    model = builder.model({"x": SHAPE}, ["y"])
    assert fold(model).model.graph == model.graph


@pytest.mark.parametrize(("is_test", "left"), [(1, []), (0, ["Dropout"])])
def test_dropout_of_the_first_opsets(is_test: int, left: list[str]) -> None:
    builder = Builder()
    builder.op("Dropout", [builder.op("Relu", ["x"], "r")], "d", is_test=is_test)
    builder.op("Relu", ["d"], "y")
    model = builder.model({"x": SHAPE}, ["y"], opset=6)
    assert operators(fold(model).model) == ["Relu", *left, "Relu"]


def test_names_of_inputs_and_outputs_are_kept() -> None:
    """x=out is both; a and b are one value under two names; z takes over its own."""
    builder = Builder()
    builder.op("Identity", ["x"], "copy")
    builder.op("Identity", [builder.op("Relu", ["x"], "a")], "b")
    builder.op("Dropout", [builder.op("Identity", [builder.op("Neg", ["x"], "n")], "i")], "z")
    builder.op("Identity", [_floats(builder, "k", [1.0, 2.0])], "held")
    model = builder.model({"x": SHAPE}, ["copy", "a", "b", "z", "held"])
    result = fold(model)
    assert operators(result.model) == ["Identity", "Relu", "Identity", "Neg", "Identity"]
    assert result.model.graph.node[3].output == ["z"]
    _same(model, result, SHAPE)


def _captured() -> onnx.ModelProto:
    """An If, both of whose branches read 'i', which is 'r' behind an Identity."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [
                helper.make_node("Identity", ["i"], [f"{name}.same"]),
                helper.make_node(op_type, [f"{name}.same"], [name]),
            ],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op_type in {"then": "Neg", "else": "Abs"}.items()
    }
    builder = Builder()
    builder.op("Identity", [builder.op("Relu", ["x"], "r")], "i")
    builder.constant("condition", np.array(True))
    builder.op("If", ["condition"], "y", **branches)
    return builder.model({"x": SHAPE}, ["y"])


def test_a_subgraph_reads_what_is_left_and_keeps_its_own() -> None:
    model = _captured()
    result = fold(model)
    assert operators(result.model) == ["Relu", "If"]
    for attribute in result.model.graph.node[1].attribute:
        assert attribute.g.node[0].op_type == "Identity"
        assert attribute.g.node[0].input == ["r"]
    _same(model, result, SHAPE)


def test_quantization_stays_as_it_is() -> None:
    builder = Builder()
    builder.constant("step", np.array(0.1, np.float32))
    builder.constant("zero", np.array(0, np.int8))
    data = builder.op("Identity", ["x"], "i")
    data = builder.op("Identity", [builder.op("QuantizeLinear", [data, "step", "zero"], "q")], "j")
    data = builder.op("DequantizeLinear", [data, "step", "zero"], "d")
    builder.op("Relu", [builder.op("Mul", [data, _floats(builder, "one", 1)], "m")], "y")
    model = builder.model({"x": SHAPE}, ["y"], opset=19)
    result = fold(model)
    assert operators(result.model) == ["QuantizeLinear", "DequantizeLinear", "Relu"]
    _same(model, result, SHAPE)


def test_a_constant_that_others_read_stays() -> None:
    builder = Builder()
    builder.op("Add", [builder.op("Add", ["x", _floats(builder, "zero", 0)], "a"), "x"], "b")
    builder.op("Max", ["b", "zero"], "y")
    model = builder.model({"x": SHAPE}, ["y"])
    result = fold(model)
    assert operators(result.model) == ["Add", "Max"]
    assert [tensor.name for tensor in result.model.graph.initializer] == ["zero"]
    _same(model, result, SHAPE)


def test_a_constant_that_the_caller_may_override_is_none() -> None:
    builder = Builder()
    builder.op("Add", [builder.op("Relu", ["x"], "r"), "zero"], "y")
    model = builder.model({"x": SHAPE, "zero": [1]}, ["y"])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    assert operators(fold(model).model) == ["Relu", "Add"]
