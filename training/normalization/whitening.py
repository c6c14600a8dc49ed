"""Whitening, in steps: decorrelation, standardization, and coloring to a given covariance.

For rows x [M, C] with mean μ and covariance Σ = U Λ Uᵀ (biased, ε added to Λ):

    decorrelate   Uᵀ(x - μ)                 covariance Λ: uncorrelated, the variances differ
    standardize   (x - μ)/√diag Σ           unit variances, the correlations as they were
    whiten, PCA   Λ^-½ Uᵀ(x - μ)            covariance I, along the principal axes
    whiten, ZCA   U Λ^-½ Uᵀ(x - μ)          covariance I, nearest to x (Kessy et al. 2018)
    color         L x with L Lᵀ the target  the target's covariance, for x that is white
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

EPSILON = 1e-12


def covariance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [C] and biased covariance [C, C] of rows [M, C]; ValueError for anything else."""
    if x.ndim != 2 or len(x) < 2 or not x.is_floating_point():
        raise ValueError(
            f"expected two or more rows [M, C] of floats, got {list(x.shape)} {x.dtype}"
        )
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / len(x)


def decorrelate(x: Tensor) -> Tensor:
    """Rows [M, C] along the principal axes, the largest variance first."""
    mean, sigma = covariance(x)
    axes: Tensor = torch.linalg.eigh(sigma).eigenvectors
    return (x - mean) @ axes.flip(1)


def standardize(x: Tensor, eps: float = EPSILON) -> Tensor:
    """Rows [M, C] with mean 0 and variance 1 in every column."""
    mean, sigma = covariance(x)
    return (x - mean) * (sigma.diagonal() + eps).rsqrt()


def whiten(x: Tensor, method: Literal["zca", "pca"] = "zca", eps: float = EPSILON) -> Tensor:
    """Rows [M, C] with covariance I. A direction without variance stays without."""
    mean, sigma = covariance(x)
    if method == "zca":
        return (x - mean) @ inverse_square_root(sigma, eps)
    if method != "pca":
        raise ValueError(f"expected the method zca or pca, got {method}")
    values, vectors = torch.linalg.eigh(sigma)
    white: Tensor = (x - mean) @ vectors * (values.clamp(min=0) + eps).rsqrt()
    return white.flip(1)


def color(x: Tensor, target: Tensor) -> Tensor:
    """White rows [M, C] given the covariance `target` [C, C], by its Cholesky factor.

    Raises ValueError where the target is not symmetric and positive definite.
    """
    fits = target.shape == (x.shape[-1], x.shape[-1]) and torch.allclose(target, target.T)
    factor, failed = torch.linalg.cholesky_ex(target) if fits else (target, torch.tensor(1))
    if not fits or int(failed):
        raise ValueError(
            f"expected a symmetric, positive definite covariance of {x.shape[-1]} channels, got "
            f"one of shape {list(target.shape)}"
        )
    return x @ factor.T


@dataclass(frozen=True, slots=True)
class CovarianceReport:
    """What the covariance of rows is: `variance` [C], the largest correlation between two columns,
    the largest distance of an entry from the identity, and the ratio of the extreme eigenvalues."""

    variance: Tensor
    largest_correlation: float
    from_identity: float
    condition_number: float


def covariance_report(x: Tensor) -> CovarianceReport:
    """The report on rows [M, C], computed in float64."""
    _, sigma = covariance(x.detach().double())
    variance = sigma.diagonal()
    scale = variance.clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    correlation = (sigma * scale[:, None] * scale).fill_diagonal_(0)
    values = torch.linalg.eigvalsh(sigma)
    return CovarianceReport(
        variance,
        float(correlation.abs().max()),
        float((sigma - torch.eye(len(sigma), dtype=sigma.dtype)).abs().max()),
        float(values[-1] / values[0]) if values[0] > 0 else float("inf"),
    )


def inverse_square_root(sigma: Tensor, eps: float) -> Tensor:
    """(Σ + εI)^-½ of a symmetric, positive semidefinite Σ [C, C], differentiable once."""
    result: Tensor = _InverseSquareRoot.apply(sigma, eps)  # type: ignore[no-untyped-call]
    return result


class _InverseSquareRoot(torch.autograd.Function):
    """Σ to W = U Λ^-½ Uᵀ, and its derivative where eigenvalues are equal, too.

    By Daleckii & Krein, dW = U (K ∘ Uᵀ dΣ U) Uᵀ with K the divided differences of λ^-½, which are
    -1/(√λi √λj (√λi + √λj)): nothing is divided by λi - λj, as it is behind eigenvectors.
    """

    @staticmethod
    def forward(ctx: Any, sigma: Tensor, eps: float) -> Tensor:
        """The symmetric inverse square root."""
        values, vectors = torch.linalg.eigh((sigma + sigma.T) / 2)
        roots = (values.clamp(min=0) + eps).sqrt()
        ctx.save_for_backward(roots, vectors)
        inverse: Tensor = vectors / roots @ vectors.T
        return inverse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient, symmetric as Σ is."""
        roots, vectors = ctx.saved_tensors
        differences = -1 / (roots[:, None] * roots * (roots[:, None] + roots))
        inner = vectors.T @ (grad + grad.T) @ vectors / 2
        return vectors @ (differences * inner) @ vectors.T, None
