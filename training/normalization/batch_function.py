"""Batch normalization as one differentiable function (Ioffe & Szegedy 2015, Algorithm 1).

For an input x [N, C, …] each channel has m = N·positions values x_i and an incoming gradient g_i:

    mean = Σ x_i / m        var = Σ (x_i - mean)² / m        x̂_i = (x_i - mean) / √(var + ε)
    y_i  = γ x̂_i + β

    dβ = Σ g_i              dγ = Σ g_i x̂_i
    dx_i = γ/√(var + ε) · (g_i - dβ/m - x̂_i dγ/m)

The two subtracted means are the gradient that flows through the mean and through the variance.

On a processor a pass over memory costs more than the arithmetic, so the sums and the gradient are
made in pieces of the batch that stay in its cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Values of a piece: with the gradient and one temporary beside it, about a megabyte of float32.
PIECE = 2**18

Statistics = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, None]


def compute_type(x: Tensor) -> torch.dtype:
    """float32 for the narrow types, else the type of `x`."""
    return torch.promote_types(x.dtype, torch.float32)


def channels(vector: Tensor, x: Tensor) -> Tensor:
    """A vector [C] as [1, C, 1, …], to stand beside `x` [N, C, …]."""
    return vector.view(1, -1, *[1] * (x.ndim - 2))


def over(x: Tensor) -> list[int]:
    """The axes of `x` that batch normalization sums over: all but the channels'."""
    return [axis for axis in range(x.ndim) if axis != 1]


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C] of `x` [N, C, …] over batch and positions.

    Those of the pieces, each in two passes, merged with Chan, Golub & LeVeque's formula (1983).
    """
    means, squares, counts = list[Tensor](), list[Tensor](), list[int]()
    axes = over(x)
    for piece, room in _pieces(x):
        mean = piece.mean(axes)
        squares.append(torch.sub(piece, channels(mean, x), out=room).square_().sum(axes))
        means.append(mean)
        counts.append(piece.numel() // x.shape[1])
    if len(means) == 1:
        return means[0], squares[0] / counts[0]
    total, weights = sum(counts), means[0].new_tensor(counts)
    each = torch.stack(means)
    mean = weights @ each / total
    between = weights @ (each - mean).square()
    return mean, (torch.stack(squares).sum(0) + between) / total


def line(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale·x + shift per channel, in the type of `x`."""
    wide = x.to(compute_type(x))
    scale, shift = scale.to(wide.dtype), shift.to(wide.dtype)
    return torch.addcmul(channels(shift, x), wide, channels(scale, x)).to(x.dtype)


def frozen_line(
    mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Algorithm 2, step 11: the scale and shift [C] of y = γ (x - mean)/√(var + ε) + β."""
    wide = torch.promote_types(var.dtype, torch.float32)
    scale = (var.to(wide) + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


class BatchNormFunction(torch.autograd.Function):
    """x [N, C, …], γ and β [C] or None, ε to y, the batch's mean and biased variance [C].

    The statistics are for tracking: no gradient flows into them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Statistics:
        """Algorithm 1, computed in float32 at least."""
        mean, var = batch_statistics(x)
        scale, shift = frozen_line(mean, var, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.bias_type = eps, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var)
        return line(x, scale, shift), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Gradients:
        """The derived gradient. Where it is to be differentiated again, the statistics are made
        anew from x, so that autograd sees how they depend on it."""
        x, weight, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():
            dx, dw, db = _differentiable_backward(gradients[0], x, weight, ctx.eps)
        else:
            dx, dw, db = _backward(gradients[0], x, weight, (mean, (var + ctx.eps).rsqrt()))
        wanted = ctx.needs_input_grad
        return (
            dx if wanted[0] else None,
            dw.to(weight.dtype) if wanted[1] else None,
            db.to(ctx.bias_type) if wanted[2] else None,
            None,
        )


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, statistics: tuple[Tensor, Tensor]
) -> Statistics:
    mean, inverse = statistics  # 1/√(var + ε)
    count, axes = x.numel() // x.shape[1], over(x)
    grad = _laid_out_like(x, grad)
    centre, sums, products = channels(mean, x), list[Tensor](), list[Tensor]()
    for (piece, room), its_grad in zip(_pieces(x), _split(grad), strict=True):
        products.append(torch.sub(piece, centre, out=room).mul_(its_grad).sum(axes))
        sums.append(its_grad.sum(axes, dtype=room.dtype))
    db, dw = _total(sums), _total(products) * inverse
    scale = inverse if weight is None else inverse * weight
    slope = -scale * inverse * dw / count
    shift, slope = channels(-scale * db / count - slope * mean, x), channels(slope, x)
    scale, dx = channels(scale, x), torch.empty_like(x)
    for (piece, room), its_grad, its_dx in zip(_pieces(x), _split(grad), _split(dx), strict=True):
        to = its_dx if its_dx.dtype == room.dtype else room
        torch.addcmul(shift, piece, slope, out=to).addcmul_(its_grad, scale)
        if to is room:
            its_dx.copy_(room)
    return dx, dw, db


def _differentiable_backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, eps: float
) -> Statistics:
    """The formulas of the module's docstring as they stand, every step known to autograd."""
    axes, wide = over(x), x.to(compute_type(x))
    grad = grad.to(wide.dtype)
    centred = wide - wide.mean(axes, keepdim=True)
    inverse = (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    normalized = centred * inverse
    scale = inverse if weight is None else inverse * channels(weight, x)
    dw, db = (grad * normalized).sum(axes), grad.sum(axes)
    along = (grad * normalized).mean(axes, keepdim=True) * normalized
    dx = scale * (grad - grad.mean(axes, keepdim=True) - along)
    return dx.to(x.dtype), dw, db


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _split(x: Tensor) -> tuple[Tensor, ...]:
    rows = max(1, PIECE // max(1, x.numel() // max(1, len(x))))
    return torch.split(x, rows)


def _pieces(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of the batch in the type to compute in, and room for each piece's temporary."""
    wide, parts = compute_type(x), _split(x)
    room = torch.empty_like(parts[0], dtype=wide)
    for part in parts:
        yield part.to(wide), room[: len(part)]


def _laid_out_like(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient as it is, or copied so that its values lie in memory as those of `x`."""
    if grad.stride() == x.stride():
        return grad
    return torch.empty_like(x, dtype=grad.dtype).copy_(grad)
