"""The relatives of batch normalization: against PyTorch where it has them, NumPy where not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import gradcheck

from training import normalization as own
from training.normalization.generalized import MEASURES
from training.normalization.layer import AtInference

TOLERANCE = 1e-12


def _values(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1


def _close(first: Tensor | None, second: Tensor | None) -> None:
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first, second, rtol=TOLERANCE, atol=TOLERANCE)


def _like_pytorch(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    theirs.load_state_dict(ours.state_dict())
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    mixed = _values(*x.shape, seed=1)
    for layer, given in zip((ours, theirs), inputs, strict=True):
        (layer(given).sin() * mixed).sum().backward()
    _close(inputs[0].grad, inputs[1].grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        _close(mine.grad, other.grad)
    for name, value in theirs.state_dict().items():
        _close(ours.state_dict()[name].double(), value.double())
    assert isinstance(ours, AtInference)
    for mode in (True, False):
        _close(ours.train(mode)(x), theirs.train(mode)(x))
    _close(ours.at_inference()(x), theirs(x))


@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}, {"bias": False}], ids=str)
def test_layer_norm_is_pytorchs(options: dict[str, Any]) -> None:
    ours, theirs = (
        t((3, 5), dtype=torch.float64, **options) for t in (own.LayerNorm, nn.LayerNorm)
    )
    _like_pytorch(ours, theirs, _values(4, 3, 5))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_is_pytorchs(groups: int) -> None:
    ours, theirs = (t(groups, 6, dtype=torch.float64) for t in (own.GroupNorm, nn.GroupNorm))
    _like_pytorch(ours, theirs, _values(4, 6, 3, 2))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"affine": True}, {"track_running_stats": True, "momentum": 0.2}], ids=str
)
def test_instance_norm_is_pytorchs(rank: int, options: dict[str, Any]) -> None:
    name = f"InstanceNorm{rank}d"
    ours, theirs = (getattr(m, name)(3, dtype=torch.float64, **options) for m in (own, nn))
    _like_pytorch(ours, theirs, _values(4, 3, *[3, 2, 4][:rank]))


def test_one_group_is_layer_and_a_group_each_is_instance_normalization() -> None:
    x = _values(4, 6, 3, 2)
    _close(own.GroupNorm(1, 6).double()(x), own.LayerNorm([6, 3, 2]).double()(x))
    _close(own.GroupNorm(6, 6).double()(x), own.InstanceNorm2d(6).double()(x))


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (lambda: own.BatchNorm2d(4), (0, 2, 3)),
        (lambda: own.LayerNorm([4, 3, 5]), (1, 2, 3)),
        (lambda: own.InstanceNorm2d(4), (2, 3)),
    ],
)
def test_over_which_axes_each_takes_its_statistics(make: Any, axes: tuple[int, ...]) -> None:
    """What docs/normalization.md has in its table."""
    x = _values(6, 4, 3, 5)
    y = make().double()(x).detach().numpy()
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-12)
    ratio = x.numpy().var(axes) / (x.numpy().var(axes) + 1e-5)
    np.testing.assert_allclose(y.var(axes), ratio, rtol=1e-10)


def _by_numpy(values: np.ndarray, measure: str) -> tuple[float, float]:
    ordered = np.sort(values)
    half = len(ordered) // 2
    lower_median = ordered[(len(ordered) - 1) // 2]
    return {
        "standard": (values.mean(), values.std()),
        "mean-absolute": (
            values.mean(),
            math.sqrt(math.pi / 2) * abs(values - values.mean()).mean(),
        ),
        "median-absolute": (
            lower_median,
            math.sqrt(math.pi / 2) * abs(values - lower_median).mean(),
        ),
        "half-range": ((ordered[0] + ordered[-1]) / 2, (ordered[-1] - ordered[0]) / 2),
        "superquantile": (ordered[half], ordered[half:].mean() - values.mean()),
    }[measure]


@pytest.mark.parametrize("measure", MEASURES)
def test_generalized_batch_norm_against_numpy(measure: str) -> None:
    layer = own.GeneralizedBatchNorm2d(3, measure=measure, momentum=0.25).double()
    nn.init.normal_(layer.weight)
    x = _values(4, 3, 5, 2)
    y = layer(x).detach().numpy()
    assert layer.running_mean is not None
    assert layer.running_var is not None
    for c in range(3):
        values = x[:, c].numpy().ravel()
        centre, deviation = _by_numpy(values, measure)
        gamma = float(layer.weight[c].detach())
        expected = gamma * (values - centre) / np.sqrt(deviation**2 + layer.eps)
        np.testing.assert_allclose(y[:, c].ravel(), expected, rtol=1e-11, atol=1e-12)
        assert float(layer.running_mean[c]) == pytest.approx(0.25 * centre, rel=1e-12)
        assert float(layer.running_var[c]) == pytest.approx(0.75 + 0.25 * deviation**2, rel=1e-12)
    frozen = layer.eval().at_inference()
    _close(frozen(x), layer(x))


@pytest.mark.parametrize("measure", MEASURES)
def test_the_gradient_flows_through_centre_and_deviation(measure: str) -> None:
    layer = own.GeneralizedBatchNorm1d(2, measure=measure, track_running_stats=False).double()
    assert gradcheck(layer, [_values(7, 2).requires_grad_()])


def test_the_standard_measure_is_batch_normalization() -> None:
    x = _values(6, 3, 4, 2)
    generalized = own.GeneralizedBatchNorm2d(3, measure="standard").double()
    _close(generalized(x), own.BatchNorm2d(3).double()(x))


def test_l1_deviation_of_gaussian_values_is_the_standard_deviation() -> None:
    """The √(π/2): without it, outputs would be 1.25 times as large."""
    x = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(own.L1BatchNorm1d(1).double()(x).detach().std()) == pytest.approx(1, abs=0.005)


def test_weight_norm_is_pytorchs() -> None:
    ours, theirs = (nn.Conv2d(3, 4, 2, dtype=torch.float64) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    own.weight_norm(ours)
    nn.utils.parametrizations.weight_norm(theirs)
    x, answers = _values(2, 3, 5, 5), []
    for layer in (ours, theirs):
        y = layer(x)
        y.sin().sum().backward()
        held = layer.get_submodule("parametrizations.weight")
        answers.append((y, *[parameter.grad for parameter in held.parameters()]))
    for mine, other in zip(*answers, strict=True):
        _close(mine, other)


def test_renormalization_against_numpy_and_its_bounds() -> None:
    layer = own.BatchRenorm1d(2, r_max=1.5, d_max=0.25, warmup=0).double()
    x = _values(9, 2)
    values = x.numpy()
    y = layer(x).detach().numpy()
    sigma_b, sigma = np.sqrt(values.var(0) + 1e-5), np.sqrt(1 + 1e-5)  # running: mean 0, variance 1
    r = np.clip(sigma_b / sigma, 1 / 1.5, 1.5)
    d = np.clip(values.mean(0) / sigma, -0.25, 0.25)
    np.testing.assert_allclose(y, (values - values.mean(0)) / sigma_b * r + d, rtol=1e-12)
    assert (r == 1.5).any()
    assert (d == 0.25).any()


def test_renormalization_unbounded_is_what_inference_computes() -> None:
    layer = own.BatchRenorm1d(2, r_max=1e9, d_max=1e9, warmup=0).double()
    reference, x = layer.state_dict(), _values(9, 2)
    frozen = own.BatchNorm1d(2).double().eval()
    frozen.load_state_dict(reference)
    expected = frozen(x)
    _close(layer(x), expected)


def test_renormalization_warms_up_as_batch_normalization() -> None:
    layer, plain, x = own.BatchRenorm1d(2, warmup=10).double(), own.BatchNorm1d(2).double(), None
    for _ in range(10):
        x = _values(9, 2)
        _close(layer(x), plain(x))
    assert layer.bounds() == (1.0, 0.0)
    layer.num_batches_tracked = torch.tensor(10 + 35)
    assert layer.bounds() == (2.0, 4.375)  # half and seven eighths of the ways


def test_ghost_batches_are_normalized_apart_and_tracked_in_order() -> None:
    ghost, plain = own.GhostBatchNorm2d(3, ghost_size=4).double(), own.BatchNorm2d(3).double()
    x = _values(13, 3, 2, 2)  # parts of 4, 4, and 4 + 1
    _close(ghost(x), torch.cat([plain(part) for part in torch.split(x, [4, 4, 5])]))
    for name, value in plain.state_dict().items():
        _close(ghost.state_dict()[name].double(), value.double())
    _close(ghost.eval()(x), plain.eval()(x))


def test_frozen_batch_norm_neither_learns_nor_tracks() -> None:
    source = nn.BatchNorm2d(3).double()
    source(_values(4, 3, 5, 5))
    network = own.freeze_batch_norms(nn.Sequential(nn.Conv2d(1, 3, 1).double(), source))
    frozen = network[1]  # type: ignore[index]
    assert isinstance(frozen, own.FrozenBatchNorm2d)
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
    x = _values(4, 3, 5, 5, seed=2).requires_grad_()
    expected = source.eval()(x)
    for mode in (True, False):
        _close(frozen.train(mode)(x), expected)
    _close(frozen.at_inference()(x), expected)
    fresh = own.FrozenBatchNorm2d(3).double()
    fresh.load_state_dict(source.state_dict())
    _close(fresh(x), expected)
    fresh(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: own.GhostBatchNorm1d(3, ghost_size=1)(_values(4, 3).float()), "larger ghost_size"),
        (lambda: own.InstanceNorm2d(3)(torch.ones(2, 3, 1, 1)), "two positions"),
        (lambda: own.BatchRenorm1d(3, track_running_stats=False), "track_running_stats"),
        (lambda: own.GeneralizedBatchNorm1d(3, measure="mode"), "expected a measure"),
        (lambda: own.GroupNorm(1, 3)(torch.ones(2, 4)), r"\[N, 3, …\]"),
        (lambda: own.LayerNorm(3)(torch.ones(2, 4)), "last axes"),
    ],
)
def test_what_cannot_be_normalized_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
