"""What the processes of the tests do: module level, so that spawned ones find it."""

from pathlib import Path

import torch
import torch.distributed as dist

from training.normalization import SyncBatchNorm

SHARES = {"equal": [4, 4], "unequal": [1, 7], "one empty": [0, 8], "three": [2, 1, 5]}


def one_share(rank: int, shares: list[int], folder: str) -> None:
    """Three training steps of a synchronized layer on this process's rows, saved for the test."""
    torch.set_num_threads(1)
    address = (Path(folder) / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=len(shares))
    try:
        layer = SyncBatchNorm(3).double()
        results = []
        for step in range(3):
            batch, mixed = batches(step)
            x = torch.split(batch, shares)[rank].clone().requires_grad_()
            y = layer(x)
            layer.zero_grad()
            (y.sin() * torch.split(mixed, shares)[rank]).sum().backward()
            grads = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
            results.append((y.detach(), x.grad, grads))
        torch.save((results, layer.state_dict()), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole batch [8, 3, 2, 2], and weights of its loss."""
    generator = torch.Generator().manual_seed(step)
    draw = torch.randn(2, 8, 3, 2, 2, generator=generator, dtype=torch.float64)
    return 3 * draw[0] + step, draw[1]
