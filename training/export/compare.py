"""Whether ONNX Runtime answers as PyTorch does.

Where the runtime has no kernels (bfloat16 on processors), the graph is evaluated in float64.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from training.errors import AnswerIsNo
from training.export.inputs import CHECKED_ROWS, Input
from training.fold.float64 import evaluate
from training.onnx_files import session

Array = NDArray[Any]

# The largest difference from PyTorch's answer, relative to the largest answer. For float32 two
# orders above its rounding (6e-8), which accumulates over the sums of a network; for the narrow
# types some 20 roundings.
TOLERANCES = {
    torch.bfloat16: 8e-2,
    torch.float16: 1e-2,
    torch.float32: 1e-5,
    torch.float64: 1e-12,
}
# Rounding may choose another class where two are as good as equal.
INTEGERS_APART = 1e-3
# Where PyTorch's own float32 answer is further than that from its float64 answer.
OWN_ERROR_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """Tensors that a network is called with: by position, or by keyword."""

    args: tuple[Tensor, ...]
    kwargs: Mapping[str, Tensor]

    @classmethod
    def of(cls, tensors: Sequence[Tensor], names: Sequence[str], *, keyword: bool) -> "Call":
        """The tensors in order, or under their names."""
        if keyword:
            return cls((), dict(zip(names, tensors, strict=True)))
        return cls(tuple(tensors), {})

    def __call__(self, network: nn.Module) -> Any:
        """What the network answers."""
        with torch.no_grad():
            return network(*self.args, **self.kwargs)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in order."""
        return (*self.args, *self.kwargs.values())

    def double(self) -> "Call":
        """The same in float64."""

        def wide(tensor: Tensor) -> Tensor:
            return tensor.double() if tensor.is_floating_point() else tensor

        return Call(tuple(map(wide, self.args)), {k: wide(v) for k, v in self.kwargs.items()})


def draw_call(inputs: Sequence[Input], rows: int = CHECKED_ROWS, *, keyword: bool) -> Call:
    """Seeded tensors for the inputs, with `rows` rows."""
    generator = torch.Generator().manual_seed(0)
    tensors = [item.draw(rows, generator) for item in inputs]
    return Call.of(tensors, [item.name for item in inputs], keyword=keyword)


def leaves(answer: Any) -> list[Tensor]:
    """The tensors of an answer, however nested, in the exporter's order."""
    return [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]


def compare(
    network: nn.Module, call: Call, expected: Sequence[Tensor], proto: onnx.ModelProto
) -> None:
    """AnswerIsNo where the graph answers otherwise than `expected`, the network's own answer.

    A float32 network that is far from its own answer in float64 may be as far in ONNX Runtime.
    """
    got = _run(proto, call)
    tolerance = max(TOLERANCES.get(t.dtype, 0.0) for t in (*expected, *call.tensors))
    tolerance = max(tolerance, _coarsest(network))
    error = _error(got, [_wide(tensor) for tensor in expected])
    if not error <= tolerance and tolerance == TOLERANCES[torch.float32]:
        exact = leaves(call.double()(copy.deepcopy(network).double()))
        own = _error([_wide(t) for t in expected], [_wide(t) for t in exact])
        error = _error(got, [_wide(tensor) for tensor in exact])
        tolerance = max(tolerance, OWN_ERROR_FACTOR * own)
    if not error <= tolerance:
        raise AnswerIsNo(
            f"expected ONNX Runtime to answer as PyTorch does within {tolerance:g}, got {error:.2g}"
        )


def _coarsest(network: nn.Module) -> float:
    held = (*network.parameters(), *network.buffers())
    return max((TOLERANCES.get(tensor.dtype, 0.0) for tensor in held), default=0.0)


def _run(proto: onnx.ModelProto, call: Call) -> list[Array]:
    names = [value.name for value in proto.graph.input]
    feeds = {name: _numpy(t) for name, t in zip(names, call.tensors, strict=True)}
    outputs = [value.name for value in proto.graph.output]
    values = proto.graph.input, proto.graph.output, proto.graph.initializer
    if not any(_is_bfloat16(value) for group in values for value in group):
        try:
            return list(session(proto).run(outputs, feeds))
        except NoKernel:
            pass
    found = evaluate(proto, feeds)
    return [found[name] for name in outputs]


def _is_bfloat16(value: Any) -> bool:
    if isinstance(value, onnx.TensorProto):
        return value.data_type == onnx.TensorProto.BFLOAT16
    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16)


def _numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    array: Array = tensor.numpy()
    return array


def _wide(tensor: Tensor) -> Array:
    array: Array = (tensor.double() if tensor.is_floating_point() else tensor).numpy(force=True)
    return array


def _error(got: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest over the outputs; infinite where their number, shape or finiteness differ."""
    if len(got) != len(expected):
        return float("inf")
    pairs = zip(got, expected, strict=True)
    return max((_error_of_one(one, other) for one, other in pairs), default=float("inf"))


def _error_of_one(got: Array, expected: Array) -> float:
    if got.shape != expected.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.mean(got != expected) <= INTEGERS_APART else float("inf")
    got = got.astype(np.float64)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    if not np.isfinite(got[~same]).all() or not np.isfinite(expected[~same]).all():
        return float("inf")
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    apart = np.abs(got[~same] - expected[~same]).max(initial=0.0)
    return float(apart / scale) if scale else float(apart)
