"""The network as it is exported: a copy in eval mode, its normalization layers PyTorch's own.

The parameters are shared with the original, which is not changed in any way. Lazy layers get their
shapes from a run; layers that only look like batch normalization (frozen ones, hand-written ones)
are replaced where PyTorch's layer is seen to compute the same.
"""

import copy
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import parametrize

from training.errors import UnusableInput
from training.normalization.batch_norm import AnyRankBatchNorm
from training.normalization.layer import AtInference
from training.population import BatchNorm
from training.provenance import Provenance

_LOOKS_LIKE = re.compile(r"batch_?norm|bn|frozen", re.IGNORECASE)
# Where a layer does not say its epsilon: none, and the usual ones.
_EPSILONS = (1e-30, 1e-5, 1e-3)
_SAME = 1e-6  # relative, of layers in float64, some of which compute in float32


def eval_copy(network: nn.Module) -> nn.Module:
    """A copy in eval mode that shares the parameters; UnusableInput where none can be made."""
    shared: dict[int, object] = {}
    for module in network.modules():
        held = (*module._parameters.values(), *vars(module).values())
        tensors = (value for value in held if isinstance(value, Tensor))
        shared |= {id(t): t for t in tensors if not isinstance(t, UninitializedParameter)}
        for buffer in module._buffers.values():
            if isinstance(buffer, UninitializedBuffer):  # which PyTorch cannot copy
                shared[id(buffer)] = UninitializedBuffer()
    try:
        return copy.deepcopy(network, shared).eval()
    except Exception as error:  # whatever the network's own parts raise
        raise UnusableInput(
            f"expected a network that can be copied, got {type(error).__name__}: "
            f"{first_line(error)}"
        ) from None


def batch_norms(network: nn.Module) -> tuple[dict[str, BatchNorm], dict[str, str]]:
    """The layers by path, and for every path that leads to one of them, the first."""
    layers: dict[str, BatchNorm] = {}
    paths: dict[str, str] = {}
    first: dict[int, str] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, BatchNorm):
            paths[path] = first.setdefault(id(module), path)
            layers.setdefault(paths[path], module)
    return layers, paths


def describe(name: str, layer: BatchNorm) -> Provenance:
    """The provenance of a layer whose moving averages are what is frozen."""
    count = layer.num_batches_tracked
    return Provenance(
        layer=name,
        momentum=layer.momentum,
        count=None if count is None else int(count),
        statistics="moving average",
    )


def refuse_untracked(layers: Mapping[str, BatchNorm]) -> None:
    """UnusableInput for layers that normalize by their own batch, for ever."""
    untracked = [name for name, layer in layers.items() if layer.running_mean is None]
    if untracked:
        raise UnusableInput(
            f"layers {', '.join(untracked)}: expected running statistics to freeze, found none "
            "(track_running_stats=False)"
        )


def replace_own(network: nn.Module) -> nn.Module:
    """Puts what each of our layers is at inference, made of PyTorch's own, in its place; the
    network, or its replacement where it is one layer itself."""
    if isinstance(network, AtInference):
        return network.at_inference()
    for path, module in list(network.named_modules()):
        if isinstance(module, AtInference):
            network.set_submodule(path, module.at_inference())
        elif parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return network


def replace_lookalikes(network: nn.Module) -> None:
    """Puts PyTorch's layer in the place of each that computes the same, in place."""
    for path, module in list(network.named_modules()):
        if not path or isinstance(module, _NormBase) or not _looks_like(module):
            continue
        replacement = _replacement(module)
        if replacement is not None:
            network.set_submodule(path, replacement)


def _looks_like(module: nn.Module) -> bool:
    mean, var = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    return (
        _LOOKS_LIKE.search(type(module).__name__) is not None
        and isinstance(mean, Tensor)
        and isinstance(var, Tensor)
        and mean.ndim == 1
        and mean.shape == var.shape
    )


def _replacement(module: nn.Module) -> AnyRankBatchNorm | None:
    """PyTorch's layer with the module's numbers; None where it computes something else."""
    own = getattr(module, "eps", getattr(module, "epsilon", None))
    best: tuple[float, float] | None = None
    for epsilon in [float(own)] if isinstance(own, int | float) and own > 0 else _EPSILONS:
        error = _difference(module, _normalization(module, epsilon))
        if best is None or error < best[0]:
            best = error, epsilon
    if best is None or not best[0] <= _SAME:
        return None
    return _normalization(module, best[1])


def _normalization(module: nn.Module, epsilon: float) -> AnyRankBatchNorm:
    def held(*names: str) -> Tensor | None:
        found = (getattr(module, name, None) for name in names)
        return next((value for value in found if isinstance(value, Tensor)), None)

    mean, var = held("running_mean"), held("running_var")
    assert mean is not None
    assert var is not None
    momentum = getattr(module, "momentum", None)
    layer = AnyRankBatchNorm(len(mean), epsilon, momentum if isinstance(momentum, float) else None)
    layer.running_mean, layer.running_var = mean.detach(), var.detach()
    for name, value, neutral in (
        ("weight", held("weight", "gamma"), torch.ones_like(mean)),
        ("bias", held("bias", "beta"), torch.zeros_like(mean)),
    ):
        tensor = (neutral if value is None else value).detach()
        setattr(layer, name, nn.Parameter(tensor, requires_grad=False))
    layer.num_batches_tracked = held("num_batches_tracked")
    return layer.eval()


def _difference(module: nn.Module, layer: AnyRankBatchNorm) -> float:
    """The largest relative difference in float64 over the ranks that the module takes."""
    try:
        first, second = (copy.deepcopy(m).double() for m in (module, layer))
    except Exception:  # whatever the module's own parts raise
        return float("inf")
    generator, worst, ran = torch.Generator().manual_seed(0), 0.0, False
    side = 3 if layer.num_features == 2 else 2  # positions cannot be taken for channels
    for rank in (4, 3, 2, 5):
        sizes = [4, layer.num_features, *[side] * (rank - 2)]
        x = torch.randn(sizes, generator=generator, dtype=torch.float64)
        try:
            with torch.no_grad():
                expected = first(x)
                got = second(x)
        except Exception:  # a layer may refuse ranks that it is not for
            continue
        if not isinstance(expected, Tensor) or expected.shape != got.shape:
            continue  # or make another rank of them
        ran = True
        worst = max(worst, float((got - expected).abs().max() / expected.abs().max()))
    return worst if ran else float("inf")


def first_line(error: BaseException, length: int = 300) -> str:
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line), "no reason given")[:length]
