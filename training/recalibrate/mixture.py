"""Whether numbers come from one population or from two: two normal distributions against one."""

from dataclasses import dataclass

import numpy as np

from training.fold.affine import Float64

_STARTS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # shares of the lower component
_ROUNDS = 100
_LEAST_SPREAD = 1e-3  # of a component, as a share of the whole variance: no spikes on one number


@dataclass(frozen=True, slots=True)
class Two:
    """The best pair of normal distributions: `share` of the numbers belong to the smaller one,
    their means are `apart` (Ashman's D, in deviations; below 2 they make one hump), and each number
    is by `gain` more likely, in ln, than under a single one."""

    share: float
    apart: float
    gain: float


def two_components(values: Float64) -> Two:
    """Fits by expectation-maximization (Dempster, Laird & Rubin 1977) from several starts.

    D is that of Ashman, Bird & Zepf 1994. `values` [n], two or more.
    """
    ordered = np.sort(values)
    whole = max(float(ordered.var()), 1e-12)
    fits = (_fit(ordered, max(1, int(share * len(ordered))), whole) for share in _STARTS)
    likelihood, weights, means, variances = max(fits, key=lambda fit: fit[0])
    single = -0.5 * (np.log(whole) + 1)
    return Two(
        share=float(weights.min()),
        apart=float(abs(means[0] - means[1]) * np.sqrt(2 / variances.sum())),
        gain=float(likelihood - single),
    )


def _fit(ordered: Float64, below: int, whole: float) -> tuple[float, Float64, Float64, Float64]:
    """The mean log-likelihood (without ln √2π), weights, means and variances."""
    parts = ordered[:below], ordered[below:]
    weights = np.array([len(part) / len(ordered) for part in parts])
    means = np.array([part.mean() for part in parts])
    variances = np.array([part.var() for part in parts]) + _LEAST_SPREAD * whole
    likelihood = -np.inf
    for _ in range(_ROUNDS):
        away = (ordered[:, np.newaxis] - means) ** 2 / variances
        logs = np.log(weights) - 0.5 * (np.log(variances) + away)
        total = np.logaddexp(logs[:, 0], logs[:, 1])
        likelihood = float(total.mean())
        share = np.exp(logs - total[:, np.newaxis])
        sums = share.sum(axis=0) + 1e-9
        weights = sums / sums.sum()
        means = share.T @ ordered / sums
        squares = (ordered[:, np.newaxis] - means) ** 2
        variances = (share * squares).sum(axis=0) / sums + _LEAST_SPREAD * whole
    return likelihood, weights, means, variances
