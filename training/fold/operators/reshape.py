"""Reshape, Flatten, Squeeze and Unsqueeze: each entry keeps its line.

The two shapes are cut, from both ends, wherever the products of the sizes agree: [N, C, H, W] and
[N, C·H·W] into [N] [C, H, W] and [N] [C·H·W]. In a piece that the line varies in, all sizes must be
known: the line is written out for each entry, and reshaped. In any other piece there is nothing to
reshape, so sizes that are free (the batch) do no harm.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from training import graph
from training.fold.affine import Float64
from training.fold.field import Field
from training.fold.refusal import Refusal
from training.fold.way import Ways, on
from training.graph import Dims

OP_TYPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_LARGEST = 1 << 24  # entries of a line that is written out


def backward(node: ir.Node, output: int, field: Field) -> Ways:
    return _reshaped(node, field, node.outputs[0], node.inputs[0])


def forward(node: ir.Node, position: int, field: Field) -> Ways:
    if position != 0:
        return Refusal(f"it is the shape that {graph.describe(node)} makes")
    return _reshaped(node, field, node.inputs[0], node.outputs[0])


def _reshaped(
    node: ir.Node, field: Field, origin: ir.Value | None, target: ir.Value | None
) -> Ways:
    before = graph.shape(origin) if origin is not None else None
    after = graph.shape(target) if target is not None else None
    if before is None or after is None or len(before) != field.rank:
        return Refusal(f"the shapes around {graph.describe(node)} are not known")
    pieces = _cut(before, after)
    for piece in pieces:
        if not piece.known(before, after, field):
            return Refusal(
                f"{graph.describe(node)} goes from {_words(before)} to {_words(after)}, and "
                "the channels are among sizes that are not known"
            )
    size = prod(piece.entries(before) for piece in pieces if piece.varies(field))
    if size > _LARGEST:
        return Refusal(f"the line written out at {graph.describe(node)} has {size} entries")
    return on(field.each(lambda array: _apply(array, pieces, before, after)))


@dataclass(frozen=True)
class _Piece:
    """Axes of one shape, and the axes of the other that hold the same entries."""

    source: range
    target: range

    def of(self, dims: Dims) -> list[int | str | None]:
        return [dims[axis] for axis in self.source]

    def varies(self, field: Field) -> bool:
        return any(field.shape[axis] != 1 for axis in self.source)

    def entries(self, before: Dims) -> int:
        return prod(size for size in self.of(before) if isinstance(size, int))

    def known(self, before: Dims, after: Dims, field: Field) -> bool:
        """Whether the line can be reshaped here."""
        if not self.varies(field):
            return True
        sizes, targets = self.of(before), [after[axis] for axis in self.target]
        if not all(isinstance(size, int) for size in (*sizes, *targets)):
            return len(sizes) == len(targets) == 1 and sizes == targets
        own = [field.shape[axis] for axis in self.source]
        fits = all(mine in (1, size) for mine, size in zip(own, sizes, strict=True))
        return fits and self.entries(before) == prod(n for n in targets if isinstance(n, int))


def _cut(before: Dims, after: Dims) -> list[_Piece]:
    heads, i, j = _matched(before, after)
    tails, k, m = _matched(before[i:][::-1], after[j:][::-1])
    last, other = len(before), len(after)
    ends = [
        _Piece(
            range(last - piece.source.stop, last - piece.source.start),
            range(other - piece.target.stop, other - piece.target.start),
        )
        for piece in reversed(tails)
    ]
    middle = _Piece(range(i, last - k), range(j, other - m))
    between = [middle] if middle.source or middle.target else []
    return [*heads, *between, *ends]


def _matched(before: Dims, after: Dims) -> tuple[list[_Piece], int, int]:
    """The pieces from the front whose products agree, and the axes that they take up."""
    pieces: list[_Piece] = []
    i = j = 0
    while i < len(before) and j < len(after):
        piece = _next(before, after, i, j)
        if piece is None:
            break
        pieces.append(piece)
        i, j = piece.source.stop, piece.target.stop
    return pieces, i, j


def _next(before: Dims, after: Dims, i: int, j: int) -> _Piece | None:
    first, second = before[i], after[j]
    if first is not None and first == second:
        return _Piece(range(i, i + 1), range(j, j + 1))
    end, other = i + 1, j + 1
    while isinstance(first, int) and isinstance(second, int) and first != second:
        if first < second:
            following = before[end] if end < len(before) else None
            first = first * following if isinstance(following, int) else None
            end += 1
        else:
            following = after[other] if other < len(after) else None
            second = second * following if isinstance(following, int) else None
            other += 1
    if first is None or first != second:
        return None
    return _Piece(range(i, end), range(j, other))


def _apply(array: Float64, pieces: list[_Piece], before: Dims, after: Dims) -> Float64:
    wide: list[int] = list(array.shape)
    shape = [1] * len(after)
    for piece in pieces:
        if not any(array.shape[axis] != 1 for axis in piece.source):
            continue
        for axis in piece.source:
            size = before[axis]
            wide[axis] = size if isinstance(size, int) else array.shape[axis]
        for axis in piece.target:
            size = after[axis]
            shape[axis] = size if isinstance(size, int) else wide[piece.source.start]
    return np.asarray(np.broadcast_to(array, wide).reshape(shape))


def _words(dims: Dims) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in dims) + "]"
