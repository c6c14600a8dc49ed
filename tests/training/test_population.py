"""Population statistics: against NumPy on all values at once, however they are split."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.errors import UnusableInput
from training.population import Moments, as_statistics, distance, estimate, freeze

# Merging in float64: the rounding of a few hundred additions.
TOLERANCE = 1e-12


def _values(mean: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    channels = torch.tensor([0.1, 1.0, 30.0]).view(1, 3, 1, 1)
    return torch.randn(60, 3, 5, 4, generator=generator) * channels + mean


@pytest.mark.parametrize("mean", [0.0, 100.0, 5000.0])
@pytest.mark.parametrize("splits", [[60], [1] * 60, [7, 1, 30, 22], [59, 1]])
def test_any_split_gives_the_variance_of_all_values_at_once(mean: float, splits: list[int]) -> None:
    values = _values(mean)
    moments = Moments()
    for part in torch.split(values, splits):
        moments.add(part)
    everything = values.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(moments.mean, everything.mean(1), rtol=TOLERANCE)
    np.testing.assert_allclose(moments.variance, everything.var(1, ddof=1), rtol=TOLERANCE)
    assert moments.count == 60 * 5 * 4


def test_pieces_of_a_large_batch_are_merged_exactly() -> None:
    values = torch.randn(64, 8, 40, 40, generator=torch.Generator().manual_seed(2)) + 1000
    moments = Moments()
    moments.add(values.contiguous(memory_format=torch.channels_last))
    everything = values.double().numpy().transpose(1, 0, 2, 3).reshape(8, -1)
    np.testing.assert_allclose(moments.variance, everything.var(1, ddof=1), rtol=1e-11)


def _network() -> nn.Sequential:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 6),
        nn.BatchNorm1d(6, momentum=None),
    )
    network[3].eval()
    return network


def _batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [3 + 2 * torch.randn(n, 1, 8, 8, generator=generator) for n in (16, 5, 32)]


def test_a_deep_layer_sees_its_input_normalized_by_each_batch() -> None:
    network, batches = _network(), _batches()
    found = as_statistics(estimate(network, batches))

    # The oracle: the network by hand, in float64, layer by layer and batch by batch.
    convolution, first, second = network[0], network[1], network[5]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(first, nn.BatchNorm2d)
    assert isinstance(second, nn.Linear)
    inputs_of_first, inputs_of_second = [], []
    for batch in batches:
        x = nn.functional.conv2d(batch.double(), convolution.weight.double())
        inputs_of_first.append(x)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        normalized = ((x - mean) / (var + first.eps).sqrt()).relu().flatten(1)
        inputs_of_second.append(
            nn.functional.linear(normalized, second.weight.double(), second.bias.double())
        )
    expected = torch.cat(inputs_of_first).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found["1"]["mean"], expected.mean(1).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["1"]["var"], expected.var(1).float(), rtol=1e-5, atol=0)
    deep = torch.cat(inputs_of_second)
    torch.testing.assert_close(found["6"]["mean"], deep.mean(0).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["6"]["var"], deep.var(0).float(), rtol=1e-4, atol=0)


def _state(network: nn.Module) -> dict[str, object]:
    state: dict[str, object] = {k: v.clone() for k, v in network.state_dict().items()}
    for name, module in network.named_modules():
        hooks = len(module._forward_pre_hooks)
        momentum = getattr(module, "momentum", 0)
        tracking = getattr(module, "track_running_stats", None)
        state[f"{name}!"] = (module.training, momentum, tracking, hooks)
    return state


def _assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        other = after[key]
        if isinstance(value, Tensor) and isinstance(other, Tensor):
            assert torch.equal(value, other), key
        else:
            assert value == other, key


def test_nothing_of_the_network_is_changed() -> None:
    network = _network()
    before = _state(network)
    estimate(network, _batches())
    _assert_same(before, _state(network))


def test_nothing_of_the_network_is_changed_when_a_batch_raises() -> None:
    def failing() -> Iterator[Tensor]:
        yield _batches()[0]
        raise RuntimeError("the disk is gone")

    network = _network()
    before = _state(network)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        estimate(network, failing())
    _assert_same(before, _state(network))


def test_without_batches_there_is_nothing_to_estimate_from() -> None:
    with pytest.raises(UnusableInput, match="layer '1': expected two or more values"):
        estimate(_network(), [])


def test_freezing_makes_eval_use_the_statistics() -> None:
    network, batches = _network(), _batches()
    statistics = as_statistics(estimate(network, batches))
    assert max(distance(network, statistics)["1"]) > 0.1
    freeze(network, statistics)
    assert distance(network, statistics) == {"1": (0.0, 0.0), "6": (0.0, 0.0)}


def test_layers_without_statistics_are_refused() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    statistics = as_statistics(estimate(network, [torch.randn(4, 3)]))
    with pytest.raises(UnusableInput, match="layer '0' tracks no statistics"):
        freeze(network, statistics)
