"""How a line meets each kind of operators; the algebra of each is in its file.

None of them knows another: what is between them is a `Field`. `RESPONSES` has them by operator.
"""

from types import MappingProxyType

from training.fold.operators import (
    activation,
    add,
    average,
    blocks,
    concat,
    conv,
    convtranspose,
    einsum,
    extreme,
    gather,
    gemm,
    matmul,
    maximum,
    mean,
    multiply,
    normalization,
    pad,
    recurrent,
    repeat,
    reshape,
    resize,
    same,
    sample,
    slices,
    split,
    total,
    transpose,
)
from training.fold.way import Operator

_ALL: tuple[Operator, ...] = (
    activation,
    add,
    average,
    blocks,
    concat,
    conv,
    convtranspose,
    einsum,
    extreme,
    gather,
    gemm,
    matmul,
    maximum,
    mean,
    multiply,
    normalization,
    pad,
    recurrent,
    repeat,
    reshape,
    resize,
    sample,
    same,
    slices,
    split,
    total,
    transpose,
)

RESPONSES = MappingProxyType({name: kind for kind in _ALL for name in kind.OP_TYPES})
# What passes a line without a shift only in place of the whole layer, which then goes.
LINEAR = MappingProxyType({n: k for n, k in RESPONSES.items() if n not in activation.OP_TYPES})
