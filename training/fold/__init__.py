"""Folding: an ONNX network's normalization layers become part of its weights, exactly.

    result = fold(model)
    proof = prove(model, result.model)

`affine` reads a layer as a line; `merging` makes one convolution of parallel branches; `rules` say
how neighbours take a line in; `engine` tries them; `apply` changes the graph; `tidy` removes what
computes nothing; `equivalence` proves the result; `report` tells of it. ONNX and NumPy only. See
docs/folding.md.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import onnx
import onnx_ir as ir

from training import graph
from training.fold.affine import Line, Normalization, channels_of, epsilon_of, read_normalization
from training.fold.apply import FOLDED, folded_layers
from training.fold.engine import Layer, find_layers, fold_layers
from training.fold.equivalence import Equivalence, prove
from training.fold.inlining import inline_functions
from training.fold.merging import merge_branches, note_refusals
from training.fold.refusal import Refusal
from training.fold.report import BranchMerge, FoldReport, LayerFold
from training.fold.rules import RULES
from training.fold.rules.base import Rewritten
from training.fold.tidy import tidy
from training.onnx_files import file_size
from training.shapes import infer_shapes

__all__ = [
    "FOLDED",
    "RULES",
    "BranchMerge",
    "Equivalence",
    "FoldReport",
    "FoldResult",
    "LayerFold",
    "Line",
    "Normalization",
    "Refusal",
    "fold",
    "folded_layers",
    "prove",
    "read_normalization",
]

_HEAVY = 2**20  # bytes


@dataclass(frozen=True, eq=False)
class FoldResult:
    """The folded network, what was done, and the layers that could be read, in network order."""

    model: onnx.ModelProto
    report: FoldReport
    normalizations: tuple[Normalization, ...]


def fold(model: onnx.ModelProto) -> FoldResult:
    """Folds every normalization layer that can be folded exactly; `model` is not modified.

    Nothing is raised for a layer that cannot be folded: it stays, and the report says why.
    """
    started = perf_counter()
    working = ir.from_proto(model)
    inline_functions(working)
    infer_shapes(working)
    layers = find_layers(working)
    merges = merge_branches(working, layers)
    fold_layers(working, layers, RULES)
    note_refusals(layers, merges)
    tidy(working, layers)
    folded = _write(working, model)
    report = FoldReport(
        layers=tuple(_describe(layer) for layer in layers),
        nodes_before=len(model.graph.node),
        nodes_after=len(folded.graph.node),
        bytes_before=file_size(model),
        bytes_after=file_size(folded),
        seconds=perf_counter() - started,
        merges=merges,
    )
    read = (layer.read for layer in layers)
    return FoldResult(folded, report, tuple(n for n in read if isinstance(n, Normalization)))


def _write(working: ir.Model, model: onnx.ModelProto) -> onnx.ModelProto:
    """The folded network, with what onnx_ir does not carry over, and without what it adds."""
    heavy = _take_heavy(working.graph)
    folded = ir.to_proto(working)
    for value in heavy:
        assert value.const_value is not None
        folded.graph.initializer.append(ir.to_proto(value.const_value))
        value.const_value = None
    folded.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    folded.training_info.extend(model.training_info)
    inputs = {value.name for value in folded.graph.input}
    if folded.ir_version < 4 and any(t.name not in inputs for t in folded.graph.initializer):
        folded.ir_version = 4  # before, every initializer had to be an input as well
    declared = {info.name for info in model.graph.value_info}
    kept = [info for info in folded.graph.value_info if info.name in declared]
    del folded.graph.value_info[:]
    folded.graph.value_info.extend(kept)
    return folded


def _take_heavy(main: ir.Graph) -> list[ir.Value]:
    """Takes the large constants out of the graph, so that they can be written one by one and let go
    of: the folded weights are never held twice."""
    values = [v for v in main.initializers.values() if not v.is_graph_input()]
    heavy = [v for v in values if v.const_value is not None and v.const_value.nbytes >= _HEAVY]
    for value in heavy:
        assert value.const_value is not None
        value.const_value.name = value.name
        del main.initializers[value.name or ""]
    return heavy


def _describe(layer: Layer) -> LayerFold:
    outcome, read = layer.outcome, layer.read
    done = outcome if isinstance(outcome, Rewritten) else None
    gain = np.abs(read.multiplier) if isinstance(read, Normalization) else np.empty(0)
    return LayerFold(
        name=layer.name,
        node=graph.node_name(layer.node),
        operator=layer.node.op_type,
        channels=channels_of(layer.node) if isinstance(read, Refusal) else read.channels,
        epsilon=epsilon_of(layer.node),
        rule=done.rule if done else None,
        folded_into=done.folded_into if done else None,
        refusal=str(outcome) if isinstance(outcome, Refusal) else None,
        output=layer.output.name if layer.output is not None else None,
        gain_min=float(gain.min()) if gain.size else None,
        gain_max=float(gain.max()) if gain.size else None,
        findings=_findings(read),
    )


def _findings(read: Normalization | Refusal) -> tuple[str, ...]:
    if isinstance(read, Refusal):
        return ()
    dead = np.flatnonzero(read.multiplier == 0)
    if not dead.size:
        return ()
    shown = ", ".join(map(str, dead[:8])) + (", …" if dead.size > 8 else "")
    return (
        f"{dead.size} of {read.channels} channels have a multiplier of zero and are constant, "
        f"whatever the input: {shown}",
    )
