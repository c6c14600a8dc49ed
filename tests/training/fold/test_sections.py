"""Custom operators: folded around, kept, and proved section by section."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import PARAMETERS
from training.fold import fold, prove
from training.fold.equivalence import CannotProve

C = 4
DOMAIN = "my.ops"


def _network(declared: tuple[str, ...] = ()) -> onnx.ModelProto:
    """A layer before a custom operator, and one behind it."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17, "my.ops": 1]>
        network (float[N, 3, 8, 8] x) => (float[N, 4, 4, 4] y) {
            c = Conv (x, w)
            first = BatchNormalization (c, scale, bias, mean, var)
            a = my.ops.Strange <level = 3> (first, w)
            d = Conv (a, v)
            second = BatchNormalization (d, scale, bias, mean, var)
            y = my.ops.Strange (second)
        }""")
    random = np.random.default_rng(0)
    constants = dict(zip(PARAMETERS, random.uniform(0.5, 2, (4, C)), strict=True))
    constants |= {"w": random.normal(size=(C, 3, 3, 3)), "v": random.normal(size=(C, C, 3, 3))}
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()
    )
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", C, 9, 9]) for name in declared
    )
    return model


@pytest.mark.parametrize("declared", [(), ("a",)])
def test_layers_around_it_are_folded_and_it_is_kept(declared: tuple[str, ...]) -> None:
    model = _network(declared=declared)
    result = fold(model)
    assert result.report.folded == 2
    assert [n.op_type for n in result.model.graph.node] == ["Conv", "Strange"] * 2
    strange = [n for n in result.model.graph.node if n.domain == DOMAIN]
    assert [a.i for a in strange[0].attribute] == [3]
    proof = prove(model, result.model)
    assert proof.passed
    assert proof.custom == (f"{DOMAIN}.Strange",)
    assert "section by section between my.ops.Strange" in proof.summary()


@pytest.mark.parametrize(("constant", "layer"), [("w", "first"), ("v", "second")])
def test_a_wrong_fold_on_either_side_is_found(constant: str, layer: str) -> None:
    """The weight of a custom operator is compared like everything else that goes into it."""
    model = _network()
    folded = fold(model).model
    into = next(n for n in folded.graph.node if constant in n.input[1] and n.op_type == "Conv")
    for tensor in folded.graph.initializer:
        if tensor.name == into.input[1]:
            wrong = numpy_helper.to_array(tensor) * np.float32(1.01)
            tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    proof = prove(model, folded)
    assert not proof.passed
    assert proof.first_departure == layer


def test_given_inputs_go_with_drawn_sections() -> None:
    model = _network()
    rows = np.zeros((2, 3, 8, 8), np.float32)
    assert prove(model, fold(model).model, {"x": rows}).passed


def test_an_output_of_unknown_shape_is_said() -> None:
    model = _network()
    del model.graph.node[2].input[:]
    with pytest.raises(CannotProve, match=r"my\.ops\.Strange .* 'a' of unknown shape; declare it"):
        prove(model, fold(model).model)


def test_a_network_that_lost_a_custom_operator_is_no_fold() -> None:
    model = _network()
    other = fold(model).model
    del other.graph.node[-1]
    with pytest.raises(CannotProve, match="other custom operators"):
        prove(model, other)
