"""What the ONNX operator cannot say of a normalization layer, kept in its node's metadata.

The exporter writes it and the bundle writer reads it; the graph stays ordinary ONNX in between.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.graph import LAYER

_PREFIX = "foldserve."

Estimator = Literal["population", "moving average", "re-calibrated", "model"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a layer and its frozen statistics come from.

    `momentum` is PyTorch's (the weight of the new value; None for the cumulative average), `count`
    the number of batches that the moving averages have seen, `statistics` which estimate is frozen
    in the graph, and `moving_mean`, `moving_var` [C] the moving averages where those are not it.
    """

    layer: str
    momentum: float | None = None
    count: int | None = None
    statistics: Estimator = "model"
    moving_mean: NDArray[np.float32] | None = None
    moving_var: NDArray[np.float32] | None = None

    def to_metadata(self) -> dict[str, str]:
        """As node metadata: strings under `foldserve.…`; what is unknown is left out."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {
            _PREFIX + name: value if isinstance(value, str) else json.dumps(_plain(value))
            for name, value in fields.items()
            if value is not None
        }


def read_provenance(metadata: Mapping[str, str], layer: str) -> Provenance:
    """The provenance in a node's metadata; `layer` names it where the metadata does not."""

    def value(name: str) -> object:
        text = metadata.get(_PREFIX + name)
        return None if text is None else json.loads(text)

    momentum, count = value("momentum"), value("count")
    stated = metadata.get(_PREFIX + "statistics", "")
    known: dict[str, Estimator] = {name: name for name in get_args(Estimator)}
    return Provenance(
        layer=metadata.get(LAYER, layer),
        momentum=float(momentum) if isinstance(momentum, int | float) else None,
        count=int(count) if isinstance(count, int) else None,
        statistics=known.get(stated, "model"),
        moving_mean=_array(value("moving_mean")),
        moving_var=_array(value("moving_var")),
    )


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(value: object) -> NDArray[np.float32] | None:
    return None if value is None else np.asarray(value, dtype=np.float32)
