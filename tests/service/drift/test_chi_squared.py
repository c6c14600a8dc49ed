"""Quantiles of χ² against PyTorch's incomplete gamma function."""

import pytest
import torch

from service.drift.chi_squared import quantile, survival

DEGREES = (0.7, 1, 1.3, 2.6, 5, 10.6, 64, 500, 5000)


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("tail", [0.5, 0.1, 1e-2, 1e-3, 1e-5, 1e-7])
def test_the_tail_beyond_a_quantile_is_what_was_asked_for(degrees: float, tail: float) -> None:
    x = quantile(1 - tail, degrees)
    a, z = (torch.tensor(v / 2, dtype=torch.float64) for v in (degrees, x))
    assert torch.special.gammaincc(a, z).item() == pytest.approx(tail, rel=1e-8)
    assert survival(x, degrees) == pytest.approx(tail, rel=1e-8)


def test_nothing_else_is_a_probability() -> None:
    for probability, degrees in ((0.0, 1.0), (1.0, 1.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="expected 0 < probability < 1"):
            quantile(probability, degrees)
    assert survival(0.0, 3.0) == 1.0
