"""NaN and infinities in an answer: how many there are, and the layer in which they began."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.api.dependencies import Context
from service.model import Model
from service.tensors import Array, count_nonfinite


@dataclass(frozen=True, slots=True)
class Nonfinite:
    """`count` values of an answer; `layer` is the first, in network order, that was not finite on
    the rows in question, where that is known."""

    count: int
    layer: str | None

    def parameters(self) -> dict[str, Any]:
        """As parameters of an answer."""
        layer = {} if self.layer is None else {"nonfinite_layer": self.layer}
        return {"nonfinite_count": self.count, **layer}

    def sentence(self) -> str:
        """In words, for who looks at one row."""
        where = "" if self.layer is None else f"; the first layer that is not is '{self.layer}'"
        return f"the network's output is not finite{where}"


def count_all_nonfinite(outputs: Iterable[Array]) -> int:
    """How many values are NaN or infinite."""
    return sum([count_nonfinite(array) for array in outputs if array.dtype.kind == "f"])


async def find_nonfinite(
    context: Context, model: Model, inputs: Mapping[str, Array], outputs: Sequence[Array]
) -> Nonfinite | None:
    """None where all outputs are finite.

    The layer is looked for with the probe network, in a thread, on the rows in question; within a
    budget of its own and one at a time, so that traffic of NaN costs what other traffic does. What
    the budget does not allow is answered without the layer.
    """
    if not (count := count_all_nonfinite(outputs)):
        return None
    if model.watch is None:
        return Nonfinite(count, None)
    bad = [~np.isfinite(array) for array in outputs if array.dtype.kind == "f"]
    loop = asyncio.get_running_loop()
    rows = _rows(inputs, bad)
    layer = await loop.run_in_executor(context.executor, model.watch.search_nonfinite, rows)
    return Nonfinite(count, layer)


def _rows(inputs: Mapping[str, Array], bad: list[Array]) -> dict[str, Array]:
    """The rows whose outputs are not finite; all where outputs have other rows than inputs."""
    count = len(next(iter(inputs.values())))
    chosen = np.zeros(count, np.bool_)
    for one in bad:
        if one.ndim == 0 or len(one) != count:
            return dict(inputs)
        chosen |= one.reshape(count, -1).any(axis=1)
    return {name: array[chosen] for name, array in inputs.items()}
