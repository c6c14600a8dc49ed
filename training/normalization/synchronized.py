"""Batch normalization over the mini-batches of several processes, as if they were one.

Each process sums its count, mean and squared deviations; all gather all, and merge them by Chan's
formula, so that shares may be unequal, even empty. In the backward pass dβ and dγ of the whole
batch are what the gradient of the input takes away, so their sums are reduced again; the gradients
that the parameters get are those of the process's own share, for the optimizer's all-reduce to
add, as `torch.nn.SyncBatchNorm` has it. Works with any backend, gloo on processors among them.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.normalization.batch_function import channels, compute_type, frozen_line, line, over
from training.normalization.batch_norm import BatchNorm

Group = dist.ProcessGroup | None


class SyncBatchNorm(BatchNorm):
    """Batch normalization of [N, C, …] with the statistics of all processes of `process_group`.

    Arguments as BatchNorm's. Without an initialized process group, or with one process, it is
    plain batch normalization. ValueError where all shares together have fewer than two values per
    channel.
    """

    def __init__(
        self, num_features: int, *args: Any, process_group: Group = None, **kwargs: Any
    ) -> None:
        super().__init__(num_features, *args, **kwargs)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected an input [N, C, …], got {list(input.shape)}")

    def _normalize_batch(self, input: Tensor) -> Tensor:
        if not self._several():
            return super()._normalize_batch(input)
        y, mean, var, count = _SyncFunction.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, (self.eps, self.process_group)
        )
        self._track(mean, var, int(count))
        result: Tensor = y
        return result

    def _refuse(self, input: Tensor) -> None:
        if not self._several():
            super()._refuse(input)

    def _several(self) -> bool:
        return dist.is_initialized() and dist.get_world_size(self.process_group) > 1


class _SyncFunction(torch.autograd.Function):
    """Algorithm 1 over all processes; see the module."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        settings: tuple[float, Group],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """y of this share; mean, biased variance and count of the whole batch."""
        eps, group = settings
        mean, var, count = _joined_statistics(x, group)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.group, ctx.count = eps, group, float(count)
        ctx.mark_non_differentiable(mean, var, count)
        return line(x, *frozen_line(mean, var, weight, bias, eps)), mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """dx by the sums of all processes; dγ, dβ of this share."""
        x, weight, mean, var = ctx.saved_tensors
        inverse = (var + ctx.eps).rsqrt()
        grad = gradients[0].to(compute_type(x))
        centred = x.to(grad.dtype) - channels(mean, x)
        own = torch.stack([grad.sum(over(x)), (grad * centred).sum(over(x)) * inverse])
        db, dw = own.clone()
        dist.all_reduce(own, group=ctx.group)
        mean_grad, along = own / ctx.count
        scale = inverse if weight is None else inverse * weight
        slope = channels(inverse * along, x)
        dx = channels(scale, x) * (grad - channels(mean_grad, x) - centred * slope)
        wanted = ctx.needs_input_grad
        return (
            dx.to(x.dtype) if wanted[0] else None,
            dw.to(weight.dtype) if wanted[1] else None,
            db if wanted[2] else None,
            None,
        )


def _joined_statistics(x: Tensor, group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance [C] and count of all processes' values, the same bits on each."""
    own = torch.zeros(2 * x.shape[1] + 1, dtype=compute_type(x), device=x.device)
    if x.numel():
        wide = x.to(own.dtype)
        mean = wide.mean(over(x))
        squares = (wide - channels(mean, x)).square().sum(over(x))
        own = torch.cat([mean, squares, own.new_tensor([x.numel() // x.shape[1]])])
    shares = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(shares, own, group=group)
    every = torch.stack(shares).double()  # counts are exact, and so is the order of addition
    means, squares, counts = every[:, : x.shape[1]], every[:, x.shape[1] : -1], every[:, -1:]
    count = counts.sum()
    if count < 2:
        raise ValueError(
            f"expected at least two values per channel in all processes together, got "
            f"{int(count)}: use larger batches"
        )
    mean = (counts * means).sum(0) / count
    var = (squares + counts * (means - mean).square()).sum(0) / count
    return mean.to(own.dtype), var.to(own.dtype), count


def synchronize(network: nn.Module, group: Group = None) -> nn.Module:
    """Makes every plain batch normalization of the network a synchronized one, in place, with the
    same tensors; the network, or the new layer where the network is one layer itself."""
    if _is_plain(network):
        return _synchronized(network, group)
    for path, module in list(network.named_modules()):
        if _is_plain(module):
            network.set_submodule(path, _synchronized(module, group))
    return network


def _is_plain(module: nn.Module) -> bool:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    own = (
        isinstance(module, BatchNorm)
        and type(module)._normalize_batch is BatchNorm._normalize_batch
    )
    return isinstance(module, kinds) or own


def _synchronized(layer: nn.Module, group: Group) -> SyncBatchNorm:
    assert isinstance(layer, _BatchNorm)
    made = SyncBatchNorm(
        layer.num_features,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
        process_group=group,
    )
    made.weight, made.bias = layer.weight, layer.bias
    made.running_mean, made.running_var = layer.running_mean, layer.running_var
    made.num_batches_tracked = layer.num_batches_tracked
    return made.train(layer.training)
