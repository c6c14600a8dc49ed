"""Transpose: the line is transposed with the tensor."""

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.field import Field
from training.fold.way import Ways, on

OP_TYPES = ("Transpose",)


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    order = np.argsort(_order(node, field))
    return on(field.each(lambda array: array.transpose(order)))


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    order = _order(node, field)
    return on(field.each(lambda array: array.transpose(order)))


def _order(node: ir.Node, field: Field) -> tuple[int, ...]:
    given = graph.attribute(node, "perm", ())
    return tuple(given) or tuple(reversed(range(field.rank)))
