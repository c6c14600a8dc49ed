"""Tensors as the Open Inference Protocol names them, and the checks that every request passes.

Knows NumPy and the protocol's datatypes; nothing of HTTP, JSON or ONNX Runtime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest, shorten

Array = NDArray[Any]

# Little-endian by definition of the binary tensor extension (Triton, extension_binary_data).
DATATYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),  # elements are str: ONNX's strings are UTF-8
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """The protocol's name of a NumPy type; KeyError for types that the protocol has not."""
    return _NAMES[dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model: `shape` has -1 for every free dimension, as the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            expected = ", ".join(DATATYPES)
            raise ValueError(
                f"tensor '{self.name}': expected a datatype of {expected}; got {self.datatype}"
            )
        if any(size < -1 or size == 0 for size in self.shape):
            raise ValueError(
                f"tensor '{self.name}': expected sizes of 1 or more, or -1 where free; "
                f"got {list(self.shape)}"
            )

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether `shape` has these dimensions, with anything in the free ones."""
        if len(shape) != len(self.shape):
            return False
        if shape[1:] == self.shape[1:]:
            return self.shape[0] in (-1, shape[0])
        return all(want in (-1, got) for want, got in zip(self.shape, shape, strict=True))

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The NumPy type of the elements."""
        return DATATYPES[self.datatype]

    def zeros(self, rows: int, free: int = 1) -> Array:
        """Zeros (empty text) with `rows` in the batch dimension and `free` in other free ones."""
        zero = "" if self.datatype == "BYTES" else 0
        return np.full(self.sizes(rows, free), zero, self.dtype)

    def sizes(self, rows: int, free: int = 1) -> tuple[int, ...]:
        """The shape with `rows` in the batch dimension and `free` in every other free one."""
        first, *rest = self.shape
        return (rows if first == -1 else first, *(free if n == -1 else n for n in rest))


def check_datatype(spec: TensorSpec, datatype: str) -> None:
    """Raises InvalidRequest unless the request's datatype is the model's."""
    if datatype != spec.datatype:
        raise InvalidRequest(
            f"input '{spec.name}': expected datatype {spec.datatype}, got '{shorten(datatype)}'"
        )


def check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Raises InvalidRequest unless `shape` fits the model's; the first dimension is the batch."""
    if 0 not in shape and spec.fits(shape):
        return
    hint = ""
    if len(shape) == len(spec.shape) - 1 and spec.shape[:1] == (-1,):
        hint = " (the first dimension is the batch: send [1, …] for one)"
    elif 0 in shape:
        hint = " (every dimension has at least 1)"
    raise InvalidRequest(
        f"input '{spec.name}': expected shape {list(spec.shape)}, got {shorten(list(shape))}{hint}"
    )


def check_count(name: str, shape: tuple[int, ...], count: int) -> None:
    """Raises InvalidRequest unless `count` elements fill `shape`."""
    if count != prod(shape):
        raise InvalidRequest(
            f"input '{name}': expected {prod(shape)} elements for shape {list(shape)}, got {count}"
        )


def check_rows(inputs: Mapping[str, Array]) -> None:
    """Raises InvalidRequest unless all inputs hold the same number of rows."""
    if len(inputs) == 1:
        return
    rows = {name: len(array) for name, array in inputs.items()}
    if len(set(rows.values())) > 1:
        raise InvalidRequest(
            f"inputs: expected one number of rows (the first dimension) in all, got {rows}"
        )


def count_nonfinite(array: Array) -> int:
    """How many values of a floating-point tensor are NaN or infinite."""
    return array.size - int(np.count_nonzero(np.isfinite(array)))


def check_finite(name: str, array: Array) -> None:
    """Raises InvalidRequest when a floating-point tensor holds NaN or an infinity.

    A network answers NaN with NaN at best; ReLU and MaxPool may hide it in a plausible answer.
    """
    if array.dtype.kind != "f" or not count_nonfinite(array):
        return
    index = np.argwhere(~np.isfinite(array))[0]
    raise InvalidRequest(
        f"input '{name}': expected finite numbers, got {array[tuple(index)]} at {index.tolist()}"
    )
