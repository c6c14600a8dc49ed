"""Whitening: covariances against NumPy, the gradient against finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import gradcheck

from training.normalization import (
    DecorrelatedBatchNorm1d,
    DecorrelatedBatchNorm2d,
    color,
    covariance_report,
    decorrelate,
    standardize,
    whiten,
)
from training.normalization.whitening import inverse_square_root


def _rows(count: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[2.0, 0, 0], [1, 0.5, 0], [-1, 0.3, 0.1]], dtype=torch.float64)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64) @ mix.T + 5


def _covariance(x: Tensor) -> np.ndarray:
    return np.cov(x.detach().numpy().T, bias=True)


def test_decorrelation_keeps_the_variances_of_the_principal_axes() -> None:
    x = _rows()
    expected = np.sort(np.linalg.eigvalsh(_covariance(x)))[::-1]
    np.testing.assert_allclose(_covariance(decorrelate(x)), np.diag(expected), atol=1e-12)


def test_standardization_keeps_the_correlations() -> None:
    x = _rows()
    np.testing.assert_allclose(_covariance(standardize(x)), np.corrcoef(x.numpy().T), atol=1e-10)


@pytest.mark.parametrize("method", ["zca", "pca"])
def test_whitening_makes_the_covariance_the_identity(method: str) -> None:
    white = whiten(_rows(), method)  # type: ignore[arg-type]
    np.testing.assert_allclose(_covariance(white), np.eye(3), atol=1e-8)
    report = covariance_report(white)
    assert report.from_identity < 1e-8
    assert report.condition_number == pytest.approx(1, abs=1e-7)


def test_zca_stays_nearer_to_the_values_than_pca() -> None:
    x = _rows()
    centred = standardize(x)
    near, far = ((whiten(x, m) - centred).square().mean() for m in ("zca", "pca"))
    assert near < far


def test_coloring_gives_the_covariance_asked_for() -> None:
    target = torch.tensor([[2.0, 0.5, 0], [0.5, 1, -0.3], [0, -0.3, 3]], dtype=torch.float64)
    np.testing.assert_allclose(_covariance(color(whiten(_rows()), target)), target, atol=1e-8)


def test_the_report_tells_what_is_correlated() -> None:
    x = _rows()
    report, correlations = covariance_report(x), np.corrcoef(x.numpy().T)
    np.testing.assert_allclose(report.variance, np.diag(_covariance(x)), rtol=1e-10)
    off = np.abs(correlations - np.eye(3)).max()
    assert report.largest_correlation == pytest.approx(off, rel=1e-10)
    assert report.condition_number == pytest.approx(np.linalg.cond(_covariance(x)), rel=1e-6)


@pytest.mark.parametrize(
    "call", [lambda: color(_rows(), -torch.eye(3).double()), lambda: whiten(torch.ones(3))]
)
def test_what_cannot_be_whitened_or_colored_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("sigma", [torch.eye(3), torch.diag(torch.tensor([1.0, 1.0, 4.0]))])
def test_the_gradient_is_right_where_eigenvalues_are_equal(sigma: Tensor) -> None:
    """Where that of eigenvectors does not exist."""

    def root(given: Tensor) -> Tensor:
        return inverse_square_root((given + given.T) / 2, 1e-3)

    assert gradcheck(root, [sigma.double().requires_grad_()])


@pytest.mark.parametrize("group_size", [2, 16])
def test_the_layer_against_numpy_and_its_gradient(group_size: int) -> None:
    layer = DecorrelatedBatchNorm1d(3, group_size=group_size, eps=1e-6).double()
    x = _rows(40).requires_grad_()
    y = layer(x)
    inside = _covariance(y)[: min(group_size, 3), : min(group_size, 3)]
    np.testing.assert_allclose(inside, np.eye(len(inside)), atol=1e-3)
    assert gradcheck(layer, [_rows(6).requires_grad_()])


def test_at_inference_the_layer_is_a_one_by_one_convolution() -> None:
    layer = DecorrelatedBatchNorm2d(3, momentum=0.5).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = _rows(60).reshape(5, 3, 4, 3)
    for _ in range(3):
        layer(x)
    layer.eval()
    torch.testing.assert_close(layer.at_inference()(x), layer(x), rtol=1e-10, atol=1e-10)
    assert torch.equal(layer(x)[:1], layer(x[:1]))


def test_after_many_batches_the_running_covariance_is_the_rows() -> None:
    layer, x = DecorrelatedBatchNorm1d(3).double(), _rows(50)
    for _ in range(300):
        layer(x)
    np.testing.assert_allclose(layer.running_covariance, np.cov(x.numpy().T), rtol=1e-9, atol=1e-9)
