"""The outputs that a V2 request asks for: which ones, in which form, or as classes.

Binary tensor extension and classification extension (Triton, extension_classification).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.api.parameters import count, flag, item_name, objects, parameters
from service.errors import InvalidRequest
from service.tensors import Array, TensorSpec

Shapes = tuple[tuple[int, ...], ...]

_SHARED_MEMORY = "shared_memory_region"
_MOST_CLASSES = 1_000_000  # elements of one answer


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output of the answer: as binary data or JSON; as its top `classes` where not 0."""

    name: str
    binary: bool
    classes: int = 0


def wanted_outputs(
    document: Mapping[str, Any], given: Mapping[str, Any], specs: Sequence[TensorSpec]
) -> tuple[WantedOutput, ...]:
    """The outputs named, or all; `binary_data` of one overrides `binary_data_output` of all."""
    by_default = flag("request", given, "binary_data_output", False)
    if not document.get("outputs"):
        return tuple(WantedOutput(spec.name, by_default) for spec in specs)
    wanted: dict[str, WantedOutput] = {}
    known = {spec.name: spec for spec in specs}
    for item in objects("outputs", document["outputs"]):
        name = item_name("output", item, known)
        if name in wanted:
            raise InvalidRequest(f"output '{name}': expected once, got it twice")
        wanted[name] = _wanted(known[name], item, by_default)
    return tuple(wanted.values())


def _wanted(spec: TensorSpec, item: Mapping[str, Any], by_default: bool) -> WantedOutput:
    place = f"output '{spec.name}'"
    given = parameters(place, item)
    if _SHARED_MEMORY in given:
        raise InvalidRequest(f"{place}: shared memory is not supported")
    classes = count(place, given, "classification")
    if classes and spec.dtype.kind not in "fiu":
        raise InvalidRequest(
            f"{place}: expected no 'classification', which is for numbers; it has {spec.datatype}"
        )
    return WantedOutput(spec.name, flag(place, given, "binary_data", by_default), classes)


def kept_answers(
    wanted: Sequence[WantedOutput], specs: Sequence[TensorSpec]
) -> dict[Shapes, tuple[bytes, ...]] | None:
    """Where the text around the numbers of the answers to these may be kept; None where it may
    not: for texts, classes, and some in binary and some in JSON."""
    texts = {spec.name for spec in specs if spec.datatype == "BYTES"}
    usual = not any(one.classes or one.name in texts for one in wanted)
    return {} if usual and len({one.binary for one in wanted}) == 1 else None


def classified(array: Array, classes: int, labels: Sequence[str]) -> Array:
    """The `classes` largest values of each row, descending, as "<value>:<index>[:<label>]".

    [rows, …] in, text [rows, min(classes, values of a row)] out; what is NaN comes last.
    """
    rows = array.reshape(len(array), -1)
    kept = min(classes, rows.shape[1])
    if len(rows) * kept > _MOST_CLASSES:
        raise InvalidRequest(
            f"'classification': expected at most {_MOST_CLASSES} elements, got {len(rows) * kept}"
        )
    texts = [[_class(row, int(i), labels) for i in descending(row)[:kept]] for row in rows]
    return np.array(texts, object).reshape(len(rows), kept)


def descending(row: Array) -> Array:
    """The indices of the values from the largest to the smallest; equal ones in their order."""
    if row.dtype.kind == "f":
        order: Array = np.argsort(-row, kind="stable")
        return order
    order = np.argsort(row[::-1], kind="stable")[::-1]  # -row would overflow
    return len(row) - 1 - order


def _class(row: Array, index: int, labels: Sequence[str]) -> str:
    value = f"{row[index]:.6f}" if row.dtype.kind == "f" else str(row[index])
    return f"{value}:{index}:{labels[index]}" if index < len(labels) else f"{value}:{index}"
