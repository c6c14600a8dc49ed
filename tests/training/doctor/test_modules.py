"""Modules: PyTorch's layers, and the hand-written layer of the MNIST report (document 003)."""

import pytest
import torch
from torch import Tensor, nn

from tests.training.doctor.networks import ask
from training.doctor import Patient, examine
from training.doctor.modules import from_module

EXAMPLE = torch.zeros(1, 1, 28, 28)


class HandWritten(nn.Module):
    """As the report describes it: γ from U(0, 1), momentum 0.1 as the weight of the OLD value,
    statistics in plain attributes, and an eval branch that, for [N, C], uses the batch."""

    def __init__(self, features: int, dimensions: int, momentum: float = 0.1) -> None:
        super().__init__()
        shape = (1, features) if dimensions == 2 else (1, features, 1, 1)
        self.gamma = nn.Parameter(torch.rand(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean = torch.zeros(shape)
        self.moving_var = torch.ones(shape)
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """The layer in both modes."""
        axes = (0,) if x.ndim == 2 else (0, 2, 3)
        mean, var = x.mean(axes, keepdim=True), x.var(axes, keepdim=True, unbiased=False)
        if self.training:
            self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean
            self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var
        elif x.ndim == 4:
            mean, var = self.moving_mean, self.moving_var
        return self.gamma * (x - mean) / torch.sqrt(var + 1e-5) + self.beta


def _report_network(momentum: float = 0.1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 10, 5),
        HandWritten(10, 4, momentum),
        nn.Sigmoid(),
        nn.MaxPool2d(2),
        nn.Conv2d(10, 20, 3),
        HandWritten(20, 4, momentum),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(2000, 500),
        HandWritten(500, 2, momentum),
        nn.Sigmoid(),
        nn.Linear(500, 10),
    )


@pytest.fixture(scope="module")
def report() -> Patient:
    return from_module(_report_network(), EXAMPLE)


def test_the_eval_branch_that_uses_the_batch_is_found(report: Patient) -> None:
    (found,) = ask(report, "BN003")
    assert found.severity == "error"
    assert found.measured is not None
    assert found.threshold is not None
    assert found.measured > 10 * found.threshold


def test_the_momentum_in_the_wrong_convention_is_measured(report: Patient) -> None:
    found = ask(report, "BN007")
    assert [f.layer for f in found] == ["1", "5", "9"]
    assert {f.severity for f in found} == {"error"}
    assert [f.measured for f in found] == pytest.approx([0.1] * 3, abs=1e-3)
    assert "hand-written meaning keeps 0.1" in found[0].message
    assert "Did you mean 0.9?" in found[0].message


def test_the_statistics_that_no_state_dict_has_are_found(report: Patient) -> None:
    found = ask(report, "BN032")
    assert [f.layer for f in found] == ["1", "5", "9"]
    assert "moving_mean, moving_var" in found[0].message
    assert {"BN003", "BN007", "BN032"} == {f.id for f in examine(report).errors}


def test_a_sound_momentum_is_not_reported() -> None:
    assert ask(from_module(_report_network(0.9), EXAMPLE), "BN007") == ()


def test_the_module_is_as_it_was() -> None:
    network = _report_network()
    network.eval()
    network[4].train()
    layer = network[1]
    before = {k: v.clone() for k, v in vars(layer).items() if isinstance(v, Tensor)}
    state = torch.random.get_rng_state()
    examine(from_module(network, EXAMPLE))
    assert [m.training for m in network] == [m is network[4] for m in network]
    assert all(torch.equal(vars(layer)[name], value) for name, value in before.items())
    assert torch.equal(torch.random.get_rng_state(), state)


def _healthy(layer: nn.Module, *, steps: int = 60) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    for _ in range(steps):
        network(torch.randn(8, 1, 8, 8))
    return network


SMALL = torch.zeros(1, 1, 8, 8)


def test_a_sound_module_has_no_error_and_keeps_its_statistics() -> None:
    network = _healthy(nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert examine(from_module(network, SMALL)).errors == ()
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_a_module_without_tracking_is_found() -> None:
    network = _healthy(nn.BatchNorm2d(4, track_running_stats=False))
    patient = from_module(network, SMALL)
    (found,) = ask(patient, "BN004")
    assert (found.severity, found.layer) == ("error", "1")
    assert [f.severity for f in ask(patient, "BN003")] == ["error"]
    assert ask(from_module(_healthy(nn.BatchNorm2d(4)), SMALL), "BN004") == ()


def test_a_module_that_was_never_trained_is_found() -> None:
    (found,) = ask(from_module(_healthy(nn.BatchNorm2d(4), steps=1).apply(_reset), SMALL), "BN005")
    assert found.severity == "error"


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.reset_running_stats()


def test_momentum_and_count_of_a_module_are_judged() -> None:
    short = from_module(_healthy(nn.BatchNorm2d(4), steps=5), SMALL)
    (found,) = ask(short, "BN006")
    assert found.measured == pytest.approx(0.9**5)
    wrong = from_module(_healthy(nn.BatchNorm2d(4, momentum=0.99)), SMALL)
    (found,) = ask(wrong, "BN007")
    assert found.severity == "error"
    cumulative = from_module(_healthy(nn.BatchNorm2d(4, momentum=None)), SMALL)
    assert ask(cumulative, "BN007") == ask(cumulative, "BN006") == ()


class Counter(nn.Module):
    """A plain attribute that does not follow the batch is no statistic."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.arange(4.0)
        self.register_buffer("running_mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        """The input, its mean tracked in a buffer."""
        if self.training:
            buffer = self.get_buffer("running_mean")
            buffer.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
        return x * self.table.view(1, -1, 1, 1)


def test_constant_attributes_and_buffers_are_no_hidden_statistics() -> None:
    assert ask(from_module(_healthy(Counter()), SMALL), "BN032") == ()
