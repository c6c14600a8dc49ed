"""What operators compute of constants: weights that a file casts, transposes, scales or assembles.

ONNX's own reference evaluator computes it, in the types that the network would. Only operators that
give the same for the same inputs are evaluated; quantization is not, since a network that stores
its weights in eight bits is meant to.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]

_SHAPING = ("Concat", "Expand", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze")
_MAKING = ("ConstantOfShape", "Range", "Shape", "Size", "Tile", "Transpose", "Unsqueeze")
_EACH = ("Abs", "Cast", "CastLike", "Ceil", "Clip", "Exp", "Floor", "Log", "Neg", "Reciprocal")
_PAIRS = ("Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mod", "Mul", "Not", "Or")
_MORE = ("Pow", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where")
_SUMS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_PRODUCTS = ("ReduceSumSquare", "Gemm", "MatMul")
EVALUATED = frozenset((*_SHAPING, *_MAKING, *_EACH, *_PAIRS, *_MORE, *_SUMS, *_PRODUCTS))
_LARGEST = 1 << 24  # entries of a result that is larger than what it is computed from


def evaluate(node: ir.Node, inputs: Sequence[Array | None]) -> list[Array] | None:
    """What the node's outputs hold; None where that cannot be computed, or would be too large.

    `inputs` are what its inputs hold, None for one that is left out.
    """
    if node.op_type not in EVALUATED or any(a.is_ref() for a in node.attributes.values()):
        return None
    given = [array for array in inputs if array is not None]
    try:
        if _entries(node, given) > max(_LARGEST, sum(array.size for array in given)):
            return None
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(_alone(node, inputs)).run(
                None, {f"i{k}": a for k, a in enumerate(inputs) if a is not None}
            )
    except Exception:  # whatever the evaluator makes of an invalid node: it is no constant then
        return None
    arrays = [np.asarray(r) for r in results if isinstance(r, (np.ndarray, np.generic))]
    return arrays if len(arrays) == len(node.outputs) else None


def _alone(node: ir.Node, inputs: Sequence[Array | None]) -> onnx.ModelProto:
    """The network of this node alone; its inputs are called i0, i1, …, its outputs o0, o1, …"""
    proto = ir.serde.serialize_node(node)
    proto.domain = ""
    del proto.input[:], proto.output[:]
    proto.input.extend("" if a is None else f"i{k}" for k, a in enumerate(inputs))
    proto.output.extend(f"o{k}" for k in range(len(node.outputs)))
    model = onnx.ModelProto(ir_version=8)
    version = node.graph.opset_imports.get("", 0) if node.graph is not None else 0
    model.opset_import.add(domain="", version=version)
    model.graph.name = node.op_type
    model.graph.node.append(proto)
    for k, array in enumerate(inputs):
        if array is not None:
            kind = ir.DataType.from_numpy(array.dtype)
            model.graph.input.append(onnx.helper.make_tensor_value_info(f"i{k}", kind, array.shape))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in proto.output)
    return model


def _entries(node: ir.Node, given: Sequence[Array]) -> int:
    """At most so many entries are in a result."""
    estimate = _ESTIMATES.get(node.op_type)
    if estimate is not None:
        return estimate(given)
    if node.op_type in (*_PAIRS, *_MORE):
        return prod(np.broadcast_shapes(*(array.shape for array in given)))
    return sum(array.size for array in given)


_ESTIMATES: dict[str, Callable[[Sequence[Array]], int]] = {
    "ConstantOfShape": lambda given: prod(int(size) for size in given[0]),
    "Expand": lambda given: prod(np.broadcast_shapes(given[0].shape, tuple(map(int, given[1])))),
    "Gather": lambda given: given[0].size * given[1].size,
    "Tile": lambda given: given[0].size * prod(int(count) for count in given[1].reshape(-1)),
    "Range": lambda given: int(abs((given[1] - given[0]) / given[2])) + 1,
    "MatMul": lambda given: given[0].size * given[1].size // max(given[0].shape[-1], 1) ** 2,
    "Gemm": lambda given: max(given[0].shape) * max(given[1].shape),
}
