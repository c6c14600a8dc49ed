"""Another normalization in the place of a network's batch normalization, by name.

    replace_normalization(network, "group")

Networks are written with PyTorch's layers; each of these is replaced by one made from its number
of channels, under the same path, so that published weights still fit whatever has their names.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.errors import UnusableInput
from training.normalization.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from training.normalization.decorrelated import DecorrelatedBatchNorm1d, DecorrelatedBatchNorm2d
from training.normalization.generalized import (
    GeneralizedBatchNorm1d,
    GeneralizedBatchNorm2d,
    L1BatchNorm1d,
    L1BatchNorm2d,
)
from training.normalization.ghost import GhostBatchNorm1d, GhostBatchNorm2d
from training.normalization.per_sample import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from training.normalization.renormalization import BatchRenorm1d, BatchRenorm2d
from training.normalization.weight import ChannelBias, weight_norm

Make = Callable[[_BatchNorm], nn.Module]

GROUPS = 32  # Wu & He 2018; fewer where the channels cannot be divided by as many


def _by_rank(*kinds: Callable[..., nn.Module]) -> Make:
    """The layer for BatchNorm1d, 2d and 3d in turn, with the arguments of the replaced one."""

    def make(layer: _BatchNorm) -> nn.Module:
        ranks = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        rank = next((i for i, kind in enumerate(ranks) if isinstance(layer, kind)), len(kinds))
        if rank >= len(kinds):
            raise UnusableInput(f"expected a layer of this kind for {type(layer).__name__}")
        tracked = layer.track_running_stats
        return kinds[rank](layer.num_features, layer.eps, layer.momentum, layer.affine, tracked)

    return make


def _whitened(layer: _BatchNorm) -> nn.Module:
    kind = DecorrelatedBatchNorm1d if isinstance(layer, nn.BatchNorm1d) else DecorrelatedBatchNorm2d
    return kind(layer.num_features, affine=layer.affine)


def _instance(layer: _BatchNorm) -> nn.Module:
    """Affine as the replaced layer was; PyTorch's instance normalization is not by itself."""
    made = _by_rank(
        *(_untracked(kind) for kind in (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d))
    )
    return made(layer)


def _untracked(kind: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return lambda channels, eps, momentum, affine, tracked: kind(channels, eps, affine=affine)


def _groups(count: int) -> Make:
    return lambda layer: GroupNorm(
        math.gcd(count, layer.num_features), layer.num_features, layer.eps, layer.affine
    )


def _bias(layer: _BatchNorm) -> nn.Module:
    return ChannelBias(layer.num_features)


NORMS: dict[str, Make | None] = {
    "torch-batch": None,  # as the networks are written
    "own-batch": _by_rank(BatchNorm1d, BatchNorm2d, BatchNorm3d),
    "layer": _groups(1),  # of all channels and positions, with a scale per channel: GN(1) is LN
    "group": _groups(GROUPS),
    "instance": _instance,
    "l1-batch": _by_rank(L1BatchNorm1d, L1BatchNorm2d),
    "generalized-batch": _by_rank(GeneralizedBatchNorm1d, GeneralizedBatchNorm2d),
    "renorm": _by_rank(BatchRenorm1d, BatchRenorm2d),
    "ghost": _by_rank(GhostBatchNorm1d, GhostBatchNorm2d),
    "whitened": _whitened,
    "weight": _bias,  # and every weight of the network normalized
    "none": _bias,  # the convolutions before were made without theirs
}


def replace_normalization(network: nn.Module, norm: str) -> nn.Module:
    """Puts the normalization of that name in the place of each batch normalization, in place.

    Draws no random numbers. Raises UnusableInput for an unknown name.
    """
    if norm not in NORMS:
        raise UnusableInput(f"expected a normalization of {', '.join(NORMS)}; got {norm}")
    make = NORMS[norm]
    if make is None:
        return network
    with torch.random.fork_rng(devices=[]):
        for path, module in list(network.named_modules()):
            if isinstance(module, _BatchNorm):
                network.set_submodule(path, make(module))
    if norm == "weight":
        for module in list(network.modules()):
            if isinstance(getattr(module, "weight", None), nn.Parameter) and _mixes(module):
                weight_norm(module)
    return network


def _mixes(module: nn.Module) -> bool:
    """Whether the module's weight takes sums over inputs: convolutions and linear layers."""
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
