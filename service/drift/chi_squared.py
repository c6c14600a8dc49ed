"""Quantiles of the chi-squared distribution, for any positive number of degrees of freedom.

The service has no statistics library, and these are all that it would need of one.
"""

import math
from functools import lru_cache

_TERMS = 10_000
_STEPS = 200
_CLOSE = 1e-13


@lru_cache(maxsize=4096)
def quantile(probability: float, degrees: float) -> float:
    """The x with P(χ² ≤ x) = `probability`; 0 < probability < 1, degrees > 0.

    By bisection on the survival function, so that small tails keep their digits.
    """
    if not (0 < probability < 1 and degrees > 0):
        raise ValueError(f"expected 0 < probability < 1 < degrees, got {probability}, {degrees}")
    tail = 1 - probability
    low, high = 0.0, degrees + 10
    while survival(high, degrees) > tail:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if survival(middle, degrees) > tail:
            low = middle
        else:
            high = middle
        if high - low <= _CLOSE * high:
            break
    return (low + high) / 2


def survival(x: float, degrees: float) -> float:
    """P(χ² > x): the regularized upper incomplete gamma function Q(degrees/2, x/2).

    By the power series of P below its mean, by Lentz's continued fraction of Q above it (DLMF
    8.7.1 and 8.9.2).
    """
    a, z = degrees / 2, x / 2
    if z <= 0:
        return 1.0
    front = math.exp(a * math.log(z) - z - math.lgamma(a))
    return 1 - front * _series(a, z) if z < a + 1 else front * _fraction(a, z)


def _series(a: float, z: float) -> float:
    term = total = 1 / a
    for n in range(1, _TERMS):
        term *= z / (a + n)
        total += term
        if term < total * _CLOSE:
            break
    return total


def _fraction(a: float, z: float) -> float:
    tiny = 1e-300
    b = z + 1 - a
    c, d = 1 / tiny, 1 / b
    total = d
    for n in range(1, _TERMS):
        step = -n * (n - a)
        b += 2
        d = 1 / (step * d + b or tiny)
        c = b + step / c or tiny
        total *= c * d
        if abs(c * d - 1) < _CLOSE:
            break
    return total
