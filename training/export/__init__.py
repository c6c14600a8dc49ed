"""PyTorch to ONNX with every batch normalization kept, under the path of its module.

    proto = export(network, torch.zeros(1, 3, 224, 224), Signature())

`inputs` are what a network takes, `layers` makes the copy that is exported, `convert` runs and
mends PyTorch's exporter, `compare` holds its answer against PyTorch's; `program` reads exported
programs, `sources` and `weights` what the user names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from torch import Tensor, nn

from training.errors import UnusableInput
from training.export.compare import Call, compare, draw_call, leaves
from training.export.convert import name_layers, name_outputs, to_onnx
from training.export.inputs import EXAMPLE_ROWS, Input, by_keyword, named
from training.export.layers import (
    batch_norms,
    describe,
    eval_copy,
    first_line,
    refuse_untracked,
    replace_lookalikes,
    replace_own,
)
from training.export.outputs import output_names
from training.provenance import Provenance

__all__ = ["Input", "Signature", "describe", "export", "export_inputs"]


@dataclass(frozen=True, slots=True)
class Signature:
    """Names of the network's input and output in the ONNX graph."""

    input: str = "image"
    output: str = "logits"


def export(
    network: nn.Module,
    example: Tensor,
    signature: Signature,
    provenance: Mapping[str, Provenance] | None = None,
) -> onnx.ModelProto:
    """The network in eval mode as ONNX, its batch dimension free.

    `example` is an input [1, …]; the rest is as for `export_inputs`.
    """
    inputs = Input(tuple(example.shape), dtype=example.dtype, name=signature.input)
    return export_inputs(network, [inputs], [signature.output], provenance)


def export_inputs(
    network: nn.Module,
    inputs: Sequence[Input],
    outputs: Sequence[str] | None = None,
    provenance: Mapping[str, Provenance] | None = None,
) -> onnx.ModelProto:
    """The network in eval mode as ONNX; nothing of the network itself is changed.

    `outputs` are their names, by default those that the network gives them; `provenance` says of
    each layer, by module path, what its frozen statistics are. Raises UnusableInput when the
    network cannot be run or exported, or a normalization layer is not in the graph; AnswerIsNo
    when ONNX Runtime's answer is not PyTorch's.
    """
    inputs = named(network, inputs)
    keyword = by_keyword(network, inputs)
    prepared = eval_copy(network)
    example = draw_call(inputs, EXAMPLE_ROWS, keyword=keyword)
    answer = _try(prepared, example)
    names = outputs if outputs is not None else output_names(answer)
    checked = draw_call(inputs, keyword=keyword)
    expected = leaves(_try(prepared, checked))
    reference = eval_copy(prepared)
    prepared = replace_own(prepared)
    replace_lookalikes(prepared)
    layers, paths = batch_norms(prepared)
    refuse_untracked(layers)
    model = to_onnx(prepared, **_arguments(inputs, example))
    name_outputs(model, names)
    known = provenance or {name: describe(name, layer) for name, layer in layers.items()}
    name_layers(model, layers, paths, known)
    proto = ir.to_proto(model)
    compare(reference, checked, expected, proto)
    return proto


def _arguments(inputs: Sequence[Input], example: Call) -> dict[str, object]:
    """What torch.onnx.export is to know of the inputs."""
    free = [item.free_names() for item in inputs]
    names = [item.name for item in inputs]
    by_name = dict(zip(example.kwargs, free, strict=True)) if example.kwargs else None
    return {
        "args": example.args,
        "kwargs": dict(example.kwargs) or None,
        "input_names": names,
        "dynamic_shapes": by_name if by_name is not None else tuple(free),
    }


def _try(network: nn.Module, call: Call) -> object:
    """What the network answers; also gives lazy layers their shapes."""
    try:
        return call(network)
    except Exception as error:  # whatever the network raises
        shapes = ", ".join(str(list(tensor.shape)) for tensor in call.tensors)
        raise UnusableInput(
            f"expected a network that takes inputs of shape {shapes}, got "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
