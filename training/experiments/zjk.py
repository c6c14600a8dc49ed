"""`zjk`: document 003's report on its own batch normalization, run as stated and as coded.

The document states mean squared error and batches of 20; the loss and the progress that it prints
(2.302585 = ln 10; 14848 = 29·512) and its public code say negative log likelihood and 512.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from training.experiments.digits import Digits, accuracy, logits_of
from training.experiments.experiment import Experiment, Results
from training.experiments.lab import Lab, Part
from training.experiments.optimize import Plan, descend
from training.experiments.zjk_network import KEEPS, Evaluation, evaluate_with, network
from training.experiments.zjk_section import section

VARIANTS = {
    "stated": ("none", "zjk", "torch"),
    "coded": ("none", "zjk", "zjk-scale-one", "torch"),
}
BATCHES = (512, 64, 8, 1)
WAYS: tuple[tuple[float, Evaluation], ...] = (
    (KEEPS[0], "batch"),  # as the document has it
    (KEEPS[1], "batch"),
    (KEEPS[0], "running"),
    (KEEPS[1], "running"),  # as PyTorch has it
)


@dataclass(frozen=True, slots=True)
class Config:
    """`stated` and `coded` settings; steps of the latter end with a short batch in each epoch."""

    seed: int = 0
    epochs: int = 20
    learning_rate: float = 0.001
    stated_batch: int = 20
    coded_batch: int = 512
    train_images: int = 60_000
    stated_steps: int = 60_000
    coded_steps: int = 2_360
    mean: float = 0.1307
    std: float = 0.3081
    test_images: int = 10_000


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over classes and pictures of (probability - one-hot label)²."""
    return F.mse_loss(logits.softmax(1), F.one_hot(labels, 10).to(logits.dtype))


def run(lab: Lab, config: Config) -> Results:
    """Trains every variant in both settings and evaluates its weights in every way."""
    data = lab.digits.standardized(config.mean, config.std)
    kept = slice(config.train_images)
    shuffled = torch.randperm(10_000, generator=torch.Generator().manual_seed(config.seed))
    chosen = shuffled[: config.test_images]
    data = Digits(
        data.images[kept].contiguous(memory_format=torch.channels_last),
        data.labels[kept],
        data.test_images[chosen].contiguous(memory_format=torch.channels_last),
        data.test_labels[chosen],
    )
    results: Results = {setting: {} for setting in VARIANTS}
    for setting in ("coded", "stated"):
        for variant in VARIANTS[setting]:

            def work(part: Part, setting: str = setting, variant: str = variant) -> Results:
                return _train(part, config, data, setting, variant)

            results[setting][variant] = lab.part(f"{setting}-{variant}", work, seed=config.seed)
    return results


def _train(part: Part, config: Config, data: Digits, setting: str, variant: str) -> Results:
    model = convert_conv2d_weight_memory_format(network(variant), torch.channels_last)
    steps = config.coded_steps if setting == "coded" else config.stated_steps
    plan = Plan(
        steps=steps,
        batch=config.coded_batch if setting == "coded" else config.stated_batch,
        learning_rate=config.learning_rate,
        every=max(1, steps // config.epochs),
        seed=config.seed,
        loss=F.cross_entropy if setting == "coded" else squared_error,
        keep_short_batch=True,
    )
    history = descend(part, model, data, plan)
    return {"history": history, "accuracies": _accuracies(part, model, data, variant)}


def _accuracies(part: Part, model: nn.Module, data: Digits, variant: str) -> list[dict[str, Any]]:
    """Test accuracy of the same weights by batch size, and by the way of evaluating."""
    rows: list[dict[str, Any]] = []
    ways = WAYS if variant.startswith("zjk") else WAYS[-1:]
    for keep, evaluation in ways:
        evaluate_with(model, keep, evaluation)
        row: dict[str, Any] = {"keep": keep, "evaluation": evaluation}
        for batch in BATCHES:
            part.advance(len(rows) * len(BATCHES) + BATCHES.index(batch), len(ways) * len(BATCHES))
            logits = logits_of(model, data.test_images, batch=batch)
            row[str(batch)] = accuracy(logits, data.test_labels)
        rows.append(row)
    return rows


EXPERIMENT = Experiment(
    name="zjk",
    title="A batch normalization of one's own, against PyTorch's",
    setup=(
        "The CNN of document 003: conv 5×5 to 10 channels, max pool, conv 3×3 to 20, 500 units, 10 "
        "outputs, all sigmoid, batch normalization after every layer, the outputs included. MNIST, "
        "standardized with 0.1307 and 0.3081, as the document's code does. Plain SGD. “Stated” is "
        "the document's text (mean squared error, of the softmax probabilities against the one-hot "
        "label, since it does not say of what; batch 20), “coded” its public code (negative log "
        "likelihood, batch 512)."
    ),
    full=Config(),
    quick=Config(
        epochs=5,
        learning_rate=0.02,
        train_images=6_000,
        stated_steps=250,
        coded_steps=48,
        coded_batch=256,
        test_images=500,
    ),
    run=run,
    section=section,
)
