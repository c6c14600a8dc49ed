"""Conventions of frameworks, and the estimators of running statistics side by side."""

import numpy as np
import pytest
import torch
from torch import nn

from training.normalization import BatchNorm2d
from training.normalization.conventions import (
    CONVENTIONS,
    convert_momentum,
    convert_variance,
    from_keras,
)
from training.normalization.estimators import estimates, remaining, updates_to_forget, window


@pytest.mark.parametrize(
    ("momentum", "source", "target", "expected"),
    [
        (0.07, "PyTorch", "ONNX", 0.93),
        (0.99, "Keras", "PyTorch", 0.01),
        (0.9, "ONNX", "Keras", 0.9),
        (0.1, "ZJK_BN", "PyTorch", 0.9),
    ],
)
def test_momentum_between_frameworks(
    momentum: float, source: str, target: str, expected: float
) -> None:
    assert convert_momentum(momentum, source, target) == pytest.approx(expected, abs=1e-15)
    assert convert_momentum(expected, target, source) == pytest.approx(momentum, abs=1e-15)


def test_pytorchs_convention_is_what_pytorch_does() -> None:
    layer, convention = nn.BatchNorm2d(1), CONVENTIONS["PyTorch"]
    x = torch.randn(4, 1, 3, 3).double()
    assert (layer.momentum, layer.eps) == (convention.momentum, convention.epsilon)
    layer.double()(x)
    assert layer.running_var is not None
    biased = (layer.running_var - 0.9) / 0.1
    expected = x.var(correction=0)
    kept = convert_variance(biased, x.numel(), "PyTorch", "Keras")
    torch.testing.assert_close(kept[0], expected, rtol=1e-10, atol=0)


def test_kerass_arrays_give_a_layer_that_computes_kerass_formula() -> None:
    generator = np.random.default_rng(0)
    names = ("bn/gamma:0", "bn/beta:0", "bn/moving_mean:0", "bn/moving_variance:0")
    arrays = {name: generator.uniform(0.5, 2, 3) for name in names}
    layer = BatchNorm2d(3, eps=CONVENTIONS["Keras"].epsilon).double().eval()
    layer.load_state_dict(from_keras(arrays))
    x = generator.normal(size=(2, 4, 4, 3))  # channels last, as in Keras
    gamma, beta, mean, var = (arrays[name] for name in names)
    expected = gamma * (x - mean) / np.sqrt(var + 1e-3) + beta
    y = layer(torch.from_numpy(x.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    plain = from_keras({name: arrays[name] for name in names[2:]}, count=10)
    assert torch.equal(plain["weight"], torch.ones(3).double())
    np.testing.assert_allclose(plain["running_var"], var * 10 / 9)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"moving_mean": np.zeros(3)}, "moving_variance"),
        ({"moving_mean": np.zeros(3), "moving_variance": np.ones(2)}, "one length"),
        ({"moving_mean": np.zeros(1), "moving_variance": -np.ones(1)}, "at least 0"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_keras(arrays)


def test_the_estimators_side_by_side() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(20, 2, 3, generator=generator).double() + i for i in range(6)]
    found = estimates(batches, momentum=0.3)
    for momentum, (mean, var) in ((0.3, found.exponential), (None, found.cumulative)):
        layer = nn.BatchNorm1d(2, momentum=momentum).double()
        for batch in batches:
            layer(batch)
        torch.testing.assert_close(mean, layer.running_mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(var, layer.running_var, rtol=1e-12, atol=1e-12)
    together = torch.cat(batches).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.population[0], together.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.population[1], together.var(1), rtol=1e-12, atol=1e-12)
    assert (found.population[1] > 2 * found.cumulative[1]).all()  # what lies between the batches


@pytest.mark.parametrize(
    ("kept", "updates"), [(0.1, 2), (0.9, 44), (0.99, 459), (0.999, 4603), (0, 1)]
)
def test_updates_to_forget_the_initial_value(kept: float, updates: int) -> None:
    assert updates_to_forget(kept) == updates
    assert remaining(kept, updates) <= 0.01 + 1e-12
    assert updates == 1 or remaining(kept, updates - 1) > 0.01


def test_the_window_is_as_noisy_as_the_average() -> None:
    assert window(0.9) == pytest.approx(19)
    weights = np.array([0.1 * 0.9**i for i in range(2000)])
    assert (weights**2).sum() == pytest.approx(1 / window(0.9), rel=1e-9)
