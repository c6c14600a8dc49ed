"""Stochastic gradient descent as the experiments use it: plain, at a constant rate, seeded."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.experiments.digits import Digits, accuracy, logits_of
from training.experiments.lab import Part

Loss = Callable[[Tensor, Tensor], Tensor]
History = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train: `every` steps the test images are classified; `seed` orders the images."""

    steps: int
    batch: int
    learning_rate: float
    every: int
    seed: int = 0
    loss: Loss = F.cross_entropy
    keep_short_batch: bool = False


def batches(count: int, plan: Plan) -> Iterator[Tensor]:
    """Endless mini-batches of indices [batch] below `count`, each epoch in an order of its own."""
    generator = torch.Generator().manual_seed(plan.seed)
    while True:
        order = torch.randperm(count, generator=generator)
        for chosen in torch.split(order, plan.batch):
            if len(chosen) == plan.batch or plan.keep_short_batch:
                yield chosen


def descend(
    part: Part,
    network: nn.Module,
    data: Digits,
    plan: Plan,
    observe: Callable[[int, Tensor], dict[str, float]] | None = None,
) -> History:
    """Trains in place; rows of step, mean loss since the last row, and test accuracy.

    `observe`, called with the step and the batch's indices before each row is made, adds to it.
    A run whose loss is no longer finite has diverged: it ends there, with `diverged` 1 in its row.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=plan.learning_rate)
    history: History = []
    total, count = 0.0, 0
    chosen_batches = batches(len(data.images), plan)
    network.train()
    for step in range(1, plan.steps + 1):
        chosen = next(chosen_batches)
        loss = plan.loss(network(data.images[chosen]), data.labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, count = total + loss.item(), count + 1
        diverged = not math.isfinite(total)
        part.advance(step, plan.steps)
        if step % plan.every == 0 or step == plan.steps or diverged:
            row = {"step": step, "loss": total / count, **evaluate(network, data, plan.loss)}
            if observe is not None:
                row |= observe(step, chosen)
            if diverged:
                row["diverged"] = 1
            history.append(row)
            part.log(step, row)
            total, count = 0.0, 0
        if diverged:
            break
    return history


def evaluate(network: nn.Module, data: Digits, loss: Loss) -> dict[str, float]:
    """Loss and accuracy on the test images, in eval mode."""
    logits = logits_of(network, data.test_images)
    return {
        "test_loss": float(loss(logits, data.test_labels)),
        "accuracy": accuracy(logits, data.test_labels),
    }


def has_diverged(history: History) -> bool:
    """Whether the loss became infinite or undefined."""
    return bool(history[-1].get("diverged"))
