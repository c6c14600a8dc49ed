"""Population statistics of every normalization layer (Ioffe & Szegedy 2015, Algorithm 2).

After training, mini-batches pass through the network with every layer normalizing by its batch, as
in training. Each layer's *input* is accumulated as (count, mean, M2) per channel in float64 and
merged with Chan's formula, so that for given inputs the result does not depend on how they were
split into batches. The paper averages the batches' variances instead, which loses the variance
between their means. The variance is Bessel-corrected over all values, as PyTorch tracks it.

Layers that measure by something else than the variance (`GeneralizedBatchNorm`) have no such
formula for their statistics: of those the average over the batches is taken, as in the paper.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.errors import UnusableInput
from training.normalization.generalized import GeneralizedBatchNorm

CACHED_VALUES = 2**15

# PyTorch has no public name for what BatchNorm1d, 2d, 3d and SyncBatchNorm have in common.
BatchNorm = _BatchNorm


@dataclass(slots=True)
class Moments:
    """Count, mean [C] and sum of squared deviations M2 [C] of a stream of values, in float64."""

    count: int = 0
    mean: Tensor | float = 0.0
    m2: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Takes in `values` [N, C, …]: each of the N and of the positions is one observation."""
        rows = values.detach().movedim(1, -1).flatten(0, -2)  # [N·positions, C]
        # Pieces that stay in the processor's cache: several times faster, and exact all the same.
        size = max(1, CACHED_VALUES // rows.shape[1])
        pieces = [piece.double() for piece in torch.split(rows, size)]
        counts = torch.tensor([len(piece) for piece in pieces], dtype=torch.float64)
        means = torch.stack([piece.mean(dim=0) for piece in pieces])  # [pieces, C]
        mean = counts @ means / len(rows)
        m2 = counts @ (means - mean).square()
        for piece, its_mean in zip(pieces, means, strict=True):
            m2 += (piece - its_mean).square_().sum(dim=0)
        self.merge(Moments(len(rows), mean, m2))

    def merge(self, other: "Moments") -> None:
        """Chan, Golub & LeVeque 1983: exact for any split of the observations."""
        count = self.count + other.count
        delta = other.mean - self.mean
        self.mean = self.mean + delta * (other.count / count)
        self.m2 = self.m2 + other.m2 + delta * delta * (self.count * other.count / count)
        self.count = count

    @property
    def variance(self) -> Tensor:
        """The unbiased variance M2 / (count - 1), [C]."""
        return torch.as_tensor(self.m2 / (self.count - 1))


class BatchAverages:
    """Centre and squared deviation [C] of a layer's batches, averaged by their number of values."""

    def __init__(self, layer: GeneralizedBatchNorm) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self._square: Tensor | float = 0.0
        self._layer = layer

    def add(self, values: Tensor) -> None:
        """Takes in the statistics of `values` [N, C, …]."""
        count = values.numel() // values.shape[1]
        self.count += count
        share = count / self.count
        centre, square = (s.double() for s in self._layer.statistics(values.detach()))
        self.mean = self.mean + (centre - self.mean) * share
        self._square = self._square + (square - self._square) * share

    @property
    def variance(self) -> Tensor:
        """The average squared deviation, [C]."""
        return torch.as_tensor(self._square)


Statistics = Moments | BatchAverages


def normalization_layers(network: nn.Module) -> dict[str, BatchNorm]:
    """The batch-normalization modules by their path, in the order of registration."""
    return {name: m for name, m in network.named_modules() if isinstance(m, BatchNorm)}


def estimate(network: nn.Module, batches: Iterable[Tensor]) -> dict[str, Statistics]:
    """The moments of every normalization layer's input over `batches` of network inputs.

    The layers normalize by their batches while everything else is in eval mode. Nothing of the
    network is changed: no statistics, mode, momentum or hook, whatever is raised inside. Raises
    UnusableInput when there was no batch, or a layer saw fewer than two values per channel.
    """
    layers = normalization_layers(network)
    moments = {name: _statistics_of(layer) for name, layer in layers.items()}
    with _gathering(network, layers, moments), torch.no_grad():
        for batch in batches:
            network(batch)
    for name, found in moments.items():
        if found.count < 2:
            raise UnusableInput(
                f"layer '{name}': expected two or more values per channel to estimate from, "
                f"got {found.count}"
            )
    return moments


def _statistics_of(layer: BatchNorm) -> Statistics:
    return BatchAverages(layer) if isinstance(layer, GeneralizedBatchNorm) else Moments()


def as_statistics(moments: Mapping[str, Statistics]) -> dict[str, dict[str, Tensor]]:
    """Mean and unbiased var [C] of every layer, rounded once to float32."""
    return {
        name: {"mean": torch.as_tensor(found.mean).float(), "var": found.variance.float()}
        for name, found in moments.items()
    }


def distance(
    network: nn.Module, statistics: dict[str, dict[str, Tensor]]
) -> dict[str, tuple[float, float]]:
    """How far the layers' running statistics are from `statistics`, layer by layer.

    (rms over channels of (running mean - mean)/sqrt(var), rms of ln(running var/var)): both have
    no unit, and are 0 where the moving averages equal the population statistics.
    """
    result = {}
    for name, layer in normalization_layers(network).items():
        mean, var = statistics[name]["mean"].double(), statistics[name]["var"].double()
        running_mean, running_var = _running(name, layer)
        live = (var > 0) & (running_var > 0)  # a channel that is always 0 has no logarithm
        shift = ((running_mean.double() - mean)[live] / var[live].sqrt()).square().mean().sqrt()
        spread = (running_var.double()[live] / var[live]).log().square().mean().sqrt()
        result[name] = (float(shift), float(spread))
    return result


def freeze(network: nn.Module, statistics: dict[str, dict[str, Tensor]]) -> None:
    """Writes mean and var [C] into the layers' running statistics, in place."""
    for name, layer in normalization_layers(network).items():
        running_mean, running_var = _running(name, layer)
        running_mean.copy_(statistics[name]["mean"])
        running_var.copy_(statistics[name]["var"])


def _running(name: str, layer: BatchNorm) -> tuple[Tensor, Tensor]:
    if layer.running_mean is None or layer.running_var is None:
        raise UnusableInput(f"layer '{name}' tracks no statistics: there is nothing to freeze")
    return layer.running_mean, layer.running_var


@contextmanager
def _gathering(
    network: nn.Module, layers: dict[str, BatchNorm], moments: dict[str, Statistics]
) -> Iterator[None]:
    """Normalization by batch without tracking, inputs observed; all put back on leaving."""
    modes = [(module, module.training) for module in network.modules()]
    tracking = [(layer, layer.track_running_stats) for layer in layers.values()]
    with ExitStack() as hooks:
        try:
            network.eval()
            for name, layer in layers.items():
                layer.train()
                layer.track_running_stats = False
                hooks.enter_context(_observed(layer, moments[name]))
            yield
        finally:
            for module, training in modes:
                module.training = training
            for layer, tracked in tracking:
                layer.track_running_stats = tracked


@contextmanager
def _observed(layer: BatchNorm, moments: Statistics) -> Iterator[None]:
    def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        moments.add(inputs[0])

    handle = layer.register_forward_pre_hook(observe)
    try:
        yield
    finally:
        handle.remove()
