"""What the probe network says of each image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from training.onnx_files import session

Array = NDArray[np.generic]
Rows = NDArray[np.floating]
_BATCH = 64


@dataclass(frozen=True, eq=False)
class ProbeRows:
    """What the probes say of each image: m and q of every layer by name, [N, C] each; and the index
    of the largest score, [N], among `classes`, where the network gives scores."""

    means: Mapping[str, Rows]
    squares: Mapping[str, Rows]
    predicted: NDArray[np.int64] | None
    classes: int = 0

    def __len__(self) -> int:
        """The images."""
        return len(next(iter(self.means.values()), ()))


def probe_rows(
    probe: onnx.ModelProto,
    outputs: Mapping[str, tuple[str, str]],
    inputs: Mapping[str, Array],
    change: Callable[[Array], Array] = lambda rows: rows,
) -> ProbeRows:
    """Runs the probe network on all rows, each input's changed by `change`; `outputs` names each
    layer's two outputs. Where the network's batch is fixed, the last one is filled with rows that
    are left out of what is returned."""
    runtime = session(probe)
    names = [value.name for value in runtime.get_outputs()]
    fixed = runtime.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else _BATCH
    count = len(next(iter(inputs.values())))
    parts: dict[str, list[Rows]] = {name: [] for name in names}
    for start in range(0, count, size):
        chunk = {name: change(array[start : start + size]) for name, array in inputs.items()}
        rows = min(size, count - start)
        if rows < size and isinstance(fixed, int):
            filled = np.arange(size) % rows
            chunk = {name: array[filled] for name, array in chunk.items()}
        for name, answer in zip(names, runtime.run(names, chunk), strict=True):
            parts[name].append(answer[:rows])
    found = {name: np.concatenate(answers) for name, answers in parts.items()}
    scores = found[names[0]]
    classifies = scores.ndim == 2 and scores.shape[1] > 1 and scores.dtype.kind == "f"
    return ProbeRows(
        means={layer: found[mean] for layer, (mean, _) in outputs.items()},
        squares={layer: found[square] for layer, (_, square) in outputs.items()},
        predicted=scores.argmax(axis=1) if classifies else None,
        classes=scores.shape[1] if classifies else 0,
    )
