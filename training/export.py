"""PyTorch to ONNX with every batch normalization kept, under the path of its module.

The exporter folds Conv→BN by default, silently, and the statistics are then gone from the file; so
it runs without its optimizer, and only constants are folded and unused nodes removed afterwards.
Both the number of normalization nodes and the answers are compared with PyTorch's.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import onnxscript.optimizer
import torch
from torch import Tensor, nn

from training.errors import AnswerIsNo, UnusableInput
from training.graph import layer_name
from training.population import BatchNorm, normalization_layers
from training.provenance import Provenance

# The largest difference from PyTorch's answer, relative to the largest answer: two orders above
# float32's rounding (6e-8), which accumulates over the sums of a network.
TOLERANCE = 1e-5
CHECKED_ROWS = 3


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

    `example` is an input [1, …]; `provenance` says of each layer, by module path, what its frozen
    statistics are. Raises UnusableInput when a normalization layer is not in the graph, AnswerIsNo
    when ONNX Runtime's answer is not PyTorch's. The network's mode is put back.
    """
    layers = normalization_layers(network)
    _refuse_untracked(layers)
    with _eval_mode(network):
        model = _to_onnx(network, example, signature)
        known = provenance or {name: describe(name, layer) for name, layer in layers.items()}
        _name_layers(model, layers, known)
        proto = ir.to_proto(model)
        _compare(network, proto, example)
    return proto


def describe(name: str, layer: BatchNorm) -> Provenance:
    """The provenance of a layer whose moving averages are what is frozen."""
    count = layer.num_batches_tracked
    return Provenance(
        layer=name,
        momentum=layer.momentum,
        count=None if count is None else int(count),
        statistics="moving average",
    )


def _refuse_untracked(layers: Mapping[str, BatchNorm]) -> None:
    untracked = [name for name, layer in layers.items() if layer.running_mean is None]
    if untracked:
        raise UnusableInput(
            f"layers {', '.join(untracked)}: expected running statistics to freeze, found none "
            "(track_running_stats=False)"
        )


def _to_onnx(network: nn.Module, example: Tensor, signature: Signature) -> ir.Model:
    batch = torch.export.Dim("batch")
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            (example.expand(2, *example.shape[1:]),),  # a batch of 1 would be taken for a constant
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=[signature.input],
            output_names=[signature.output],
            dynamic_shapes=({0: batch},),
        )
    if program is None:
        raise UnusableInput("the exporter gave no network")
    model: ir.Model = program.model
    onnxscript.optimizer.fold_constants(model)
    onnxscript.optimizer.remove_unused_nodes(model)
    return model


def _name_layers(
    model: ir.Model, layers: Mapping[str, BatchNorm], provenance: Mapping[str, Provenance]
) -> None:
    """Names every normalization node by its module, and drops the exporter's own metadata, which
    holds the paths of the machine that it ran on."""
    found: list[str] = []
    for node in model.graph:
        path = layer_name(node)
        node.metadata_props.clear()
        if node.op_type != "BatchNormalization":
            continue
        if path not in layers:
            raise UnusableInput(f"node {node.name}: expected a known module, got '{path}'")
        node.name = path
        node.metadata_props.update(provenance[path].to_metadata())
        found.append(path)
    model.graph.metadata_props.clear()
    missing = [name for name in layers if name not in found]
    repeated = sorted({name for name in found if found.count(name) > 1})
    if missing or repeated:
        raise UnusableInput(
            f"expected {len(layers)} normalization nodes, one for each module, got {len(found)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; called more than once: {', '.join(repeated)}" if repeated else "")
        )


def _compare(network: nn.Module, proto: onnx.ModelProto, example: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(CHECKED_ROWS, *example.shape[1:], generator=generator)
    with torch.inference_mode():
        expected = network(rows).double().numpy()
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    got = session.run(None, {session.get_inputs()[0].name: rows.numpy()})[0]
    error = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not error <= TOLERANCE:
        raise AnswerIsNo(
            f"expected ONNX Runtime to answer as PyTorch does within {TOLERANCE:g}, got {error:.2g}"
        )


@contextmanager
def _eval_mode(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on packages that it would use if they were there."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
