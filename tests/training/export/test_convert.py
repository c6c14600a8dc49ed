"""What PyTorch's exporter does wrong without its optimizer, and the types besides float32."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from training.errors import AnswerIsNo, UnusableInput
from training.export import export_inputs
from training.export.inputs import parse_inputs
from training.fold.float64 import evaluate


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (nn.Conv1d(2, 4, 3, bias=False), "1x2x9"),
        (nn.Conv2d(2, 4, 3, bias=False), "1x2x9x9"),
        (nn.Conv3d(2, 4, 3, bias=False), "1x2x9x9x9"),
        (nn.ConvTranspose2d(2, 4, 3, bias=False), "1x2x9x9"),
        (nn.ConvTranspose3d(2, 4, 3, stride=2, output_padding=1, bias=False), "1x2x4x4x4"),
    ],
)
def test_a_convolution_without_bias_has_none_in_the_graph(
    convolution: nn.Module, shape: str
) -> None:
    """In three dimensions the exporter's zeros are of a shape that ONNX Runtime rejects."""
    model = export_inputs(nn.Sequential(convolution), parse_inputs([shape]))
    (node,) = _convolutions(model)
    assert len([name for name in node.input if name]) == 2
    assert [other.op_type for other in model.graph.node] == [node.op_type]


def test_a_bias_of_zeros_that_the_network_has_is_kept() -> None:
    convolution = nn.Conv2d(2, 4, 3)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    (node,) = _convolutions(export_inputs(nn.Sequential(convolution), parse_inputs(["1x2x9x9"])))
    assert len(node.input) == 3


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [("bf16", torch.bfloat16, 2e-2), ("f16", torch.float16, 2e-3), ("f64", torch.float64, 1e-12)],
)
def test_weights_of_other_types_are_written_as_they_are(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    """The default export writes bfloat16 weights as FLOAT."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()).to(dtype)
    model = export_inputs(network, parse_inputs([f"{name}:1x3x8x8"]))
    types = {tensor.data_type for tensor in model.graph.initializer}
    wanted = {"bf16": "BFLOAT16", "f16": "FLOAT16", "f64": "DOUBLE"}[name]
    assert types == {onnx.TensorProto.DataType.Value(wanted)}
    assert [n.op_type for n in model.graph.node] == ["Conv", "BatchNormalization", "Relu"]

    rows = torch.randn(2, 3, 8, 8).to(dtype)
    with torch.no_grad():
        expected = network.double().eval()(rows.double()).numpy()
    (got,) = [evaluate(model, {"input": rows.double().numpy()})[model.graph.output[0].name]]
    assert np.abs(got - expected).max() <= 1e-12 * np.abs(expected).max()
    if name == "f16":
        session = onnxruntime.InferenceSession(model.SerializeToString())
        (run,) = session.run(None, {"input": rows.numpy()})
        assert np.abs(run - expected).max() <= tolerance * np.abs(expected).max()


def test_a_wrong_answer_in_bfloat16_is_found() -> None:
    class Lying(nn.Module):
        """Answers otherwise when it is exported than when it runs."""

        def forward(self, x: Tensor) -> Tensor:
            return x * (1.5 if torch.compiler.is_compiling() else 1.0)

    with pytest.raises(AnswerIsNo, match=r"within 0\.08, got 0\.5"):
        export_inputs(Lying(), parse_inputs(["bf16:1x3"]))


def test_a_network_in_training_mode_is_exported_as_it_is_at_inference() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9)).train()
    model = export_inputs(network, parse_inputs(["1x3"]))
    (node,) = model.graph.node
    modes = {entry.name: entry.i for entry in node.attribute}
    assert modes.get("training_mode", 0) == 0
    assert len(node.output) == 1
    assert network.training


class _Many(nn.Module):
    """Inputs of several types, outputs in a tree."""

    def forward(
        self, image: Tensor, index: Tensor, mask: Tensor | None = None, scale: Tensor | None = None
    ) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        """Each output from another input."""
        chosen = torch.arange(10.0)[index]
        factor = image if scale is None else image * scale
        kept = image.mean(1) if mask is None else image.mean(1) * mask
        return {"scaled": factor, "rest": (chosen, kept)}


def test_several_inputs_and_outputs_have_names_types_and_free_sizes() -> None:
    model = export_inputs(_Many(), parse_inputs(["1x3x*x8", "index:i64:1x4"]))
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    assert shapes == {"image": ["batch", 3, "image_dim_2", 8], "index": ["batch", 4]}
    assert [value.name for value in model.graph.output] == ["scaled", "rest_0", "rest_1"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image, index = torch.randn(5, 3, 17, 8), torch.randint(10, (5, 4))
    got = session.run(None, {"image": image.numpy(), "index": index.numpy()})
    expected = [image, torch.arange(10.0)[index], image.mean(1)]
    for one, other in zip(got, expected, strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_inputs_may_be_named_out_of_order() -> None:
    texts = ["image:1x3x8x8", "index:i64:1x4", "scale:1x1x1x1"]
    model = export_inputs(_Many(), parse_inputs(texts))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image, index, scale = torch.randn(2, 3, 8, 8), torch.ones(2, 4).long(), torch.randn(2, 1, 1, 1)
    feeds = {"image": image.numpy(), "index": index.numpy(), "scale": scale.numpy()}
    (got,) = session.run(["scaled"], feeds)
    assert np.allclose(got, image * scale)


class _PassedOn(nn.Module):
    """Its outputs are its input, the same thing twice, and a constant."""

    def forward(self, output_0: Tensor) -> tuple[Tensor, ...]:
        """All four."""
        double = 2 * output_0
        return double, output_0, double, torch.ones(2)


def test_outputs_that_are_inputs_constants_or_the_same_are_outputs_of_their_own() -> None:
    model = export_inputs(_PassedOn(), parse_inputs(["given:1x3"]))
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    assert names == ["given", "output_0", "output_1", "output_2", "output_3"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    answers = session.run(None, {"given": rows})
    expected = [2 * rows, rows, 2 * rows, np.ones(2, np.float32)]
    assert all(np.allclose(one, other) for one, other in zip(answers, expected, strict=True))


def test_an_output_keeps_apart_from_an_input_of_its_name() -> None:
    model = export_inputs(nn.ReLU(), parse_inputs(["output:1x3"]))
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["output", "output_out"]


def test_a_fixed_batch_is_fixed() -> None:
    model = export_inputs(nn.ReLU(), parse_inputs(["4x3"], fixed_batch=True))
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [4, 3]


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (
            nn.Conv2d(3, 4, 3),
            "1x5x8x8",
            r"takes inputs of shape \[2, 5, 8, 8\], got RuntimeError: ",
        ),
        (nn.Conv2d(3, 4, 3), "i64:1x3x8x8", "got RuntimeError: "),
        (nn.Flatten(0), "1x3", None),
        (nn.Unflatten(0, (1, 2)), "1x3", "got RuntimeError: "),
    ],
)
def test_inputs_that_the_network_cannot_take_are_said(
    network: nn.Module, shape: str, message: str | None
) -> None:
    if message is None:
        assert export_inputs(network, parse_inputs([shape]))
        return
    with pytest.raises(UnusableInput, match=message):
        export_inputs(network, parse_inputs([shape]))


class _Branching(nn.Module):
    """What it computes depends on the numbers: there is no graph of it."""

    def forward(self, x: Tensor) -> Tensor:
        """One of two."""
        return x if x.sum() > 0 else -x


def test_what_pytorch_cannot_export_is_one_sentence() -> None:
    with pytest.raises(UnusableInput, match="PyTorch cannot export the network: ") as caught:
        export_inputs(_Branching(), parse_inputs(["1x3"]))
    assert "\n" not in str(caught.value)
