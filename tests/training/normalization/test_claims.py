"""What the source documents say of batch normalization, claim by claim, on the layers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from training.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    InstanceNorm2d,
    detached_batch_norm,
    standardize,
)


def _values(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1


def test_standardized_features_make_the_loss_round() -> None:
    """000-1: with features scaled 1 : 100, XᵀX has a condition number of 10⁴, then of about 1."""
    x = _values(2000, 2) * torch.tensor([1.0, 100.0])
    before, after = (float(torch.linalg.cond(v.T @ v)) for v in (x - x.mean(0), standardize(x)))
    assert before > 5e3
    assert after < 1.2


def test_batch_statistics_err_by_one_over_the_root_of_the_batch() -> None:
    """000-6."""
    x = _values(40_000, 1)
    errors = [x.view(-1, size).mean(1).std() for size in (4, 16, 64)]
    assert float(errors[0] / errors[1]) == pytest.approx(2, rel=0.1)
    assert float(errors[1] / errors[2]) == pytest.approx(2, rel=0.1)


def test_the_moving_average_weighs_by_age_alone() -> None:
    """000-10, 002-7: (1-m)ᵗ of the start, m(1-m)^(t-i) of batch i, whatever the loss was."""
    layer, batches = BatchNorm1d(2, momentum=0.1).double(), _values(5, 6, 2)
    for batch in batches:
        layer(batch)
    means = batches.mean(1).numpy()
    closed = sum(0.1 * 0.9 ** (4 - i) * mean for i, mean in enumerate(means))
    assert layer.running_mean is not None
    np.testing.assert_allclose(layer.running_mean, closed, rtol=1e-12)


def test_the_first_step_keeps_nine_tenths_and_a_tenth_of_the_unbiased_variance() -> None:
    """002-8."""
    layer, x = BatchNorm2d(2).double(), _values(2, 2, 2, 2)
    layer(x)
    expected = 0.9 + 0.1 * x.numpy().transpose(1, 0, 2, 3).reshape(2, -1).var(1, ddof=1)
    assert layer.running_var is not None
    np.testing.assert_allclose(layer.running_var, expected, rtol=1e-12)


def test_scaled_inputs_change_nothing_in_training_and_everything_at_inference() -> None:
    """000-11: the invariance ends with frozen statistics."""
    layer, x = BatchNorm1d(3, eps=1e-14, momentum=1).double(), _values(9, 3)
    torch.testing.assert_close(layer(255 * x), layer(x), rtol=1e-10, atol=1e-10)
    layer.eval()
    assert float((layer(255 * x) - layer(x)).abs().max().detach()) > 10


def test_normalization_keeps_a_sigmoid_from_saturating() -> None:
    """001-4: the share of inputs beyond ±4."""
    x = 20 * _values(500, 3)
    before, after = (float((v.abs() > 4).double().mean()) for v in (x, BatchNorm1d(3).double()(x)))
    assert before > 0.8
    assert after < 0.01


def test_a_bias_grows_where_the_gradient_does_not_know_of_the_mean() -> None:
    """001-5, 004-5: the loss stands still all the while."""
    u, target = _values(64, 1), torch.full((64, 1), 2.0, dtype=torch.float64)
    found = []
    for normalize in (lambda x: detached_batch_norm(x, None, None), BatchNorm1d(1).double()):
        bias, losses, sizes = torch.zeros(1, dtype=torch.float64, requires_grad=True), [], []
        for _ in range(100):
            loss = (normalize(u + bias) - target).square().mean()
            (grad,) = torch.autograd.grad(loss, bias)
            with torch.no_grad():
                bias -= 0.1 * grad
            losses.append(float(loss.detach()))
            sizes.append(float(bias.detach()))
        assert max(losses) - min(losses) < 1e-9
        found.append(sizes)
    np.testing.assert_allclose(np.diff(found[0]), found[0][0], rtol=1e-6)  # as much at every step
    assert found[0][-1] > 10
    assert abs(found[1][-1]) < 1e-9


def test_normalizing_each_sample_loses_its_scale() -> None:
    """001-7."""
    x = _values(2, 3, 4, 4)
    layer = InstanceNorm2d(3, eps=1e-14).double()
    torch.testing.assert_close(layer(5 * x), layer(x), rtol=1e-9, atol=1e-9)
    frozen = BatchNorm2d(3).double().eval()
    torch.testing.assert_close(frozen(5 * x), 5 * frozen(x), rtol=1e-9, atol=1e-9)


def test_at_inference_an_answer_does_not_depend_on_its_neighbours() -> None:
    """001-14, 002-4: bit by bit; in training it does."""
    layer, x = BatchNorm2d(3), _values(8, 3, 4, 4).float()
    alone, together = layer(x[:2])[:1], layer(x)[:1]
    assert not torch.equal(alone, together)
    layer.eval()
    assert torch.equal(layer(x[:1]), layer(x)[:1])


def test_the_folded_line_has_epsilon_in_both_terms() -> None:
    """001-16, 002-6: the translation leaves ε out of the shift, which is seen where ε is large."""
    layer, x = BatchNorm1d(2, eps=0.5).double(), _values(7, 2)
    layer(x)
    layer.eval()
    assert layer.running_mean is not None
    assert layer.running_var is not None
    scale = (layer.running_var + layer.eps).rsqrt()
    torch.testing.assert_close(
        layer(x), x * scale - layer.running_mean * scale, rtol=1e-12, atol=1e-12
    )
    without = x * scale - layer.running_mean * layer.running_var.rsqrt()
    assert not torch.allclose(layer(x), without, rtol=1e-3)


def test_the_worked_example_by_hand() -> None:
    """002-2, 002-9: two pictures of two channels of 2×2; one mean and variance per channel."""
    x = torch.arange(16, dtype=torch.float64).view(2, 2, 2, 2)
    layer = BatchNorm2d(2, eps=1e-5).double()
    y = layer(x)
    means = torch.tensor([5.5, 9.5], dtype=torch.float64)  # of 0…3, 8…11 and of 4…7, 12…15
    variance = 17.25  # (2·(5.5² + 4.5² + 3.5² + 2.5²))/8
    by_hand = (x - means.view(1, 2, 1, 1)) / (variance + 1e-5) ** 0.5
    torch.testing.assert_close(y, by_hand, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_mean, 0.1 * means, rtol=1e-12, atol=0)
    unbiased = torch.full((2,), 0.9 + 0.1 * variance * 8 / 7, dtype=torch.float64)
    torch.testing.assert_close(layer.running_var, unbiased, rtol=1e-12, atol=0)


def test_after_flattening_every_pixel_is_a_feature() -> None:
    """004-8: normalization after Flatten is per position and channel, not per channel."""
    x = _values(6, 3, 4, 4)
    assert not torch.allclose(
        BatchNorm1d(48).double()(x.flatten(1)).view_as(x), BatchNorm2d(3).double()(x)
    )
