"""Inputs for a proof: seeded, of the types and shapes that a network declares."""

import numpy as np
import onnx
import onnx_ir as ir

from training.graph import Array

SEED = 20150211  # any; fixed, so that a proof can be repeated
FREE_SIZE = 32  # of free dimensions other than the batch: enough for five halvings


def draw_inputs(model: onnx.ModelProto, rows: int) -> dict[str, Array]:
    """Arrays for every input that the caller must give, by name.

    Floating-point inputs are normal (0, 1), uint8 ones any byte, other integers 0 or 1 (an index
    that every table has), truth values even. A free dimension is `rows` where it comes first, else
    FREE_SIZE, and the same wherever its name occurs. Raises ValueError for an input without shape.
    """
    random = np.random.default_rng(SEED)
    optional = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in optional]
    sizes: dict[str, int] = {}
    for value in inputs:
        for index, dimension in enumerate(_dimensions(value)):
            if dimension.dim_param:
                sizes.setdefault(dimension.dim_param, rows if index == 0 else FREE_SIZE)
    return {value.name: _draw(value, _shape(value, sizes, rows), random) for value in inputs}


def _dimensions(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    if not value.type.tensor_type.HasField("shape"):
        raise ValueError(f"input '{value.name}' declares no shape to draw numbers for; give inputs")
    return list(value.type.tensor_type.shape.dim)


def _shape(value: onnx.ValueInfoProto, sizes: dict[str, int], rows: int) -> tuple[int, ...]:
    return tuple(
        dimension.dim_value
        if dimension.HasField("dim_value")
        else sizes.get(dimension.dim_param, rows if index == 0 else FREE_SIZE)
        for index, dimension in enumerate(_dimensions(value))
    )


def _draw(value: onnx.ValueInfoProto, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    dtype = ir.DataType(value.type.tensor_type.elem_type)
    if dtype.is_floating_point():
        return random.standard_normal(shape).astype(dtype.numpy())
    if dtype == ir.DataType.STRING:
        raise ValueError(f"input '{value.name}' is of strings, which cannot be drawn; give inputs")
    return random.integers(0, 256 if dtype == ir.DataType.UINT8 else 2, shape).astype(dtype.numpy())
