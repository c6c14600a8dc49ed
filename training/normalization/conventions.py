"""What frameworks mean by momentum, epsilon and the running variance, and the way between them.

PyTorch's `momentum` multiplies the new value, that of all others here the old one; the running
variance is unbiased in PyTorch, biased in the others; and Keras adds 1e-3 where the rest add 1e-5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Convention:
    """How a framework tracks: whether `momentum` weighs the old value, its default (None where it
    must be given), the default epsilon, and whether the running variance is unbiased."""

    weighs: Literal["old", "new"]
    momentum: float | None
    epsilon: float
    unbiased: bool


CONVENTIONS = {
    "PyTorch": Convention("new", 0.1, 1e-5, unbiased=True),
    "Keras": Convention("old", 0.99, 1e-3, unbiased=False),
    "Flax": Convention("old", 0.99, 1e-5, unbiased=False),
    "Haiku": Convention("old", None, 1e-5, unbiased=False),
    "ONNX": Convention("old", 0.9, 1e-5, unbiased=False),
    # The MNIST report's own layer: PyTorch's value with Keras's meaning.
    "ZJK_BN": Convention("old", 0.1, 1e-5, unbiased=False),
}


def convert_momentum(momentum: float, source: str, target: str) -> float:
    """The `momentum` of `target` that does what `momentum` does in `source`.

    Raises ValueError for a weight outside of 0 to 1, KeyError for an unknown framework.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"expected a momentum between 0 and 1, got {momentum}")
    same = CONVENTIONS[source].weighs == CONVENTIONS[target].weighs
    return momentum if same else 1 - momentum


def convert_variance(variance: Tensor, count: int, source: str, target: str) -> Tensor:
    """The running variance [C] as `target` keeps it, tracked over `count` values per channel.

    By Bessel's correction count/(count - 1) or its inverse, where the two differ in that.
    """
    if count < 2:
        raise ValueError(f"expected at least two values per channel, got {count}")
    have, want = CONVENTIONS[source].unbiased, CONVENTIONS[target].unbiased
    bessel = count / (count - 1)
    return variance * bessel ** (int(want) - int(have))


def from_keras(arrays: Mapping[str, Array], *, count: int | None = None) -> dict[str, Tensor]:
    """A Keras BatchNormalization's arrays as the state dict of ours, and of PyTorch's.

    `arrays` has `moving_mean` and `moving_variance` [C] and, unless the layer was made without,
    `gamma` and `beta`; names may have a path and a suffix (`bn/gamma:0`). With `count`, the values
    per channel and batch of training, the variance becomes the unbiased one; without, it stays as
    it is, which is what inference needs. The layer must be given Keras's epsilon, 1e-3 by default.

    Raises ValueError for missing names, other shapes, and a variance below 0.
    """
    found = {_plain(name): np.asarray(value) for name, value in arrays.items()}
    for name in ("moving_mean", "moving_variance"):
        if name not in found:
            raise ValueError(f"expected the array '{name}', got {', '.join(found) or 'none'}")
    mean, var = found["moving_mean"], found["moving_variance"]
    neutral = {"gamma": np.ones_like(mean), "beta": np.zeros_like(mean)}
    chosen = {
        "weight": found.get("gamma", neutral["gamma"]),
        "bias": found.get("beta", neutral["beta"]),
        "running_mean": mean,
        "running_var": var,
    }
    shapes = {name: value.shape for name, value in chosen.items()}
    if mean.ndim != 1 or len(set(shapes.values())) != 1:
        raise ValueError(f"expected four vectors of one length, got {shapes}")
    if (var < 0).any():
        raise ValueError(f"expected variances of at least 0, got {var.min()}")
    state = {name: torch.from_numpy(value.copy()) for name, value in chosen.items()}
    if count is not None:
        state["running_var"] = convert_variance(state["running_var"], count, "Keras", "PyTorch")
    return state | {"num_batches_tracked": torch.tensor(0)}


def _plain(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]
