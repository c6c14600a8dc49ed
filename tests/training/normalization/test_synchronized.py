"""Synchronized batch normalization: several real processes equal one on the joined batch."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from tests.training.normalization.process_group import SHARES, batches, one_share
from training.normalization import BatchNorm1d, GhostBatchNorm1d, SyncBatchNorm, synchronize


@pytest.mark.parametrize("name", SHARES)
def test_shares_of_a_batch_give_what_the_joined_batch_gives(name: str, tmp_path: Path) -> None:
    shares = SHARES[name]
    spawn(one_share, (shares, str(tmp_path)), nprocs=len(shares))  # type: ignore[no-untyped-call]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(shares))]
    whole = nn.BatchNorm2d(3).double()
    for step in range(3):
        batch, mixed = batches(step)
        x = batch.clone().requires_grad_()
        y = whole(x)
        whole.zero_grad()
        (y.sin() * mixed).sum().backward()
        parts = [results[step] for results, _ in found]
        _close(torch.cat([part[0] for part in parts]), y)
        _close(torch.cat([part[1] for part in parts]), x.grad)
        for index, parameter in enumerate(whole.parameters()):
            _close(torch.stack([part[2][index] for part in parts]).sum(0), parameter.grad)
    for _, state in found:
        for key, value in whole.state_dict().items():
            _close(state[key].double(), value.double())


def _close(first: torch.Tensor, second: torch.Tensor | None) -> None:
    assert second is not None
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def test_one_process_is_plain_batch_normalization() -> None:
    x = batches(0)[0]
    _close(SyncBatchNorm(3).double()(x), nn.BatchNorm2d(3).double()(x))
    with pytest.raises(ValueError, match="two values per channel"):
        SyncBatchNorm(3)(torch.ones(1, 3))


def test_a_network_is_synchronized_with_the_same_tensors() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(BatchNorm1d(4)), GhostBatchNorm1d(2))
    before = network.state_dict(keep_vars=True)
    synchronize(network)
    kinds = [type(network[0]), type(network.get_submodule("1.0")), type(network[2])]
    assert kinds == [SyncBatchNorm, SyncBatchNorm, GhostBatchNorm1d]
    after = network.state_dict(keep_vars=True)
    assert all(after[name] is value for name, value in before.items())
