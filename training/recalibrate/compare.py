"""A version and its parent on the same images."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from service.manifest import Comparison
from training.graph import Array
from training.recalibrate.estimate import CHUNK, in_onnx_runtime

Classes = NDArray[np.int64]


def predict(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Classes | None:
    """The index of the largest score of every row, [N]; None where the first output has none."""
    fixed = _rows_wanted(model)
    run, name = in_onnx_runtime(model), model.graph.output[0].name
    count = min(len(array) for array in inputs.values())
    found: list[Classes] = []
    for start in range(0, count - count % fixed if fixed else count, fixed or CHUNK):
        chunk = {key: array[start : start + (fixed or CHUNK)] for key, array in inputs.items()}
        scores = run(chunk)[name]
        if scores.ndim != 2 or scores.shape[1] < 2 or scores.dtype.kind != "f":
            return None
        found.append(scores.argmax(axis=1))
    return np.concatenate(found) if found else None


def _rows_wanted(model: onnx.ModelProto) -> int:
    stored = {tensor.name for tensor in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in stored)
    return int(first.type.tensor_type.shape.dim[0].dim_value)


def compare(before: Classes, after: Classes, labels: Array | None) -> Comparison:
    """What manifests say of the two: the classes that they give to the same images, [N]."""
    images = min(len(before), len(after))
    before, after = before[:images], after[:images]
    right = None if labels is None else labels[:images]
    return Comparison(
        images=images,
        agreement=float((before == after).mean()),
        accuracy_before=None if right is None else float((before == right).mean()),
        accuracy_after=None if right is None else float((after == right).mean()),
    )
