"""A line at a value: which line each entry of a tensor goes through.

    y[i, j, …] = multiplier[i, j, …]·x[i, j, …] + shift[i, j, …]

Both arrays have the tensor's rank; an axis along which the line is everywhere the same has one
entry, the others have the tensor's own size. So what an operator does to the tensor's axes can be
done to the line: a transposition transposes it, a reshaping repeats each channel's line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from training.fold.affine import Float64, Line


@dataclass(frozen=True, eq=False)
class Field:
    """Two float64 arrays of one shape."""

    multiplier: Float64
    shift: Float64

    @staticmethod
    def of(multiplier: Float64 | float, shift: Float64 | float) -> "Field":
        """The two, broadcast to one shape."""
        both = np.broadcast_arrays(np.asarray(multiplier, float), np.asarray(shift, float))
        return Field(*cast(tuple[Float64, Float64], tuple(both)))

    @staticmethod
    def along(line: Line, axis: int, rank: int) -> "Field":
        """A per-channel line on one axis of a tensor of `rank` dimensions."""
        shape = tuple(-1 if index == axis else 1 for index in range(rank))
        return Field.of(line.multiplier.reshape(shape), line.shift.reshape(shape))

    @property
    def rank(self) -> int:
        return self.multiplier.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return self.multiplier.shape

    @property
    def varies(self) -> tuple[int, ...]:
        """The axes along which the line is not known to be the same."""
        return tuple(axis for axis, size in enumerate(self.shape) if size != 1)

    @property
    def has_shift(self) -> bool:
        return bool(self.shift.any())

    @property
    def scales(self) -> bool:
        return bool((self.multiplier != 1).any())

    @property
    def is_identity(self) -> bool:
        return not self.scales and not self.has_shift

    def each(self, rearrange: Callable[[Float64], Float64]) -> "Field":
        """The same rearrangement of both arrays; axes that have become uniform shrink to one."""
        multiplier, shift = rearrange(self.multiplier), rearrange(self.shift)
        for axis in range(multiplier.ndim):
            if multiplier.shape[axis] > 1 and _uniform(multiplier, axis) and _uniform(shift, axis):
                multiplier, shift = multiplier.take([0], axis), shift.take([0], axis)
        return Field(multiplier, shift)

    def without_shift(self) -> "Field":
        return Field(self.multiplier, np.zeros_like(self.shift))

    def only_shift(self) -> "Field":
        return Field(np.ones_like(self.multiplier), self.shift)


def _uniform(array: Float64, axis: int) -> bool:
    return bool((array == array.take([0], axis)).all())
