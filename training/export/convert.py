"""PyTorch's exporter, and what has to be mended in its graphs.

It folds Conv→BN by default, silently, and the statistics are then gone from the file; so it runs
without its optimizer, and only constants are folded and unused nodes removed afterwards. Without
the optimizer a convolution that has no bias gets one of zeros, which in three dimensions is of a
wrong shape; it is taken away again.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
import torch

from training.errors import UnusableInput
from training.export.layers import first_line
from training.graph import Names, constant, is_op, layer_name, unique
from training.provenance import Provenance


def to_onnx(network: Any, **arguments: Any) -> ir.Model:
    """The module or exported program as ONNX, nothing optimized; UnusableInput if it cannot be."""
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                network, **arguments, dynamo=True, optimize=False, verbose=False
            )
    except Exception as error:  # the exporter raises whatever the network led it to
        cause = error.__cause__ or error
        raise UnusableInput(
            f"PyTorch cannot export the network: {type(cause).__name__}: {first_line(cause)}"
        ) from None
    if program is None:
        raise UnusableInput("the exporter gave no network")
    model: ir.Model = program.model
    _drop_zero_biases(model)
    onnxscript.optimizer.fold_constants(model)
    onnxscript.optimizer.remove_unused_nodes(model)
    return model


def _drop_zero_biases(model: ir.Model) -> None:
    """Conv's bias Expand(CastLike(0, …), …) is no bias."""
    for node in model.graph:
        if is_op(node, "Conv", "ConvTranspose") and len(node.inputs) > 2:
            bias = node.inputs[2]
            expand = bias.producer() if bias is not None else None
            if is_op(expand, "Expand") and expand is not None and _is_zero(expand.inputs[0]):
                node.resize_inputs(2)


def _is_zero(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    if producer is not None and is_op(producer, "CastLike", "Cast"):
        value = producer.inputs[0]
    held = constant(value)
    return held is not None and not np.any(held)


def name_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Names the graph's outputs. An output that is an input too, or another output, becomes a
    value of its own; PyTorch's exporter would rename the input."""
    graph, taken = model.graph, Names(model)
    if len(names) != len(graph.outputs):
        raise UnusableInput(f"expected {len(names)} outputs in the graph, got {len(graph.outputs)}")
    inputs = {value.name for value in graph.inputs}
    names = [f"{name}_out" if name in inputs else name for name in names]
    for index, value in enumerate(list(graph.outputs)):
        if value.producer() is None or value in list(graph.outputs)[:index]:
            node = ir.node("Identity", [value], name=taken.fresh(f"node_{names[index]}"))
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    inner = [value for node in graph for value in node.outputs if value not in graph.outputs]
    for value in (*graph.initializers.values(), *inner):
        if value.name in names:
            value.name = taken.fresh(f"{value.name}_inner")
    for value, name in zip(graph.outputs, names, strict=True):
        value.name = name


def name_layers(
    model: ir.Model,
    expected: Iterable[str],
    paths: Mapping[str, str],
    provenance: Mapping[str, Provenance],
) -> None:
    """Names every normalization node by its module, and drops the exporter's own metadata, which
    holds the paths of the machine that it ran on.

    `paths` leads from any path of a module to its first. A module that is called again gives
    `layer#2`. Raises UnusableInput for a layer of `expected` without a node.
    """
    found: list[tuple[ir.Node, str]] = []
    for node in model.graph:
        path = layer_name(node)
        node.metadata_props.clear()
        if is_op(node, "BatchNormalization"):
            found.append((node, paths.get(path, path)))
    model.graph.metadata_props.clear()
    called = [path for _, path in found]
    missing = [name for name in expected if name not in called]
    if missing:
        raise UnusableInput(
            f"expected every normalization layer in the graph, got {len(found)} nodes; never "
            f"called: {', '.join(missing)}"
        )
    for (node, path), name in zip(found, unique(called), strict=True):
        known = provenance.get(path, Provenance(layer=path))
        node.name = name
        node.metadata_props.update(replace(known, layer=name).to_metadata())


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on packages that it would use if they were there."""
    names = ("torch.onnx._internal.exporter._registration", "torch.export", "torch.onnx")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
