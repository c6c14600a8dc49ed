"""`batch-size`: batch normalization against its relatives, as the normalized batch shrinks.

The optimizer's batch stays the same; what changes is how many pictures are normalized together
(ghost batches), so that only the statistics differ (Wu & He 2018; Wu & Johnson 2021, section 3).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training import normalization
from training.experiments import figures
from training.experiments.digits import accuracy, logits_of
from training.experiments.experiment import (
    Experiment,
    Finding,
    Plot,
    Results,
    Section,
    Table,
    percent,
    verdict,
)
from training.experiments.lab import Lab, Part
from training.experiments.networks import Normalization, SmallCnn
from training.experiments.optimize import Plan, descend

BY_BATCH = {"ghost": "BN (ghost batches)", "renorm": "batch renormalization"}
PER_SAMPLE = {"layer": "LN", "instance": "IN", "group": "GN"}


@dataclass(frozen=True, slots=True)
class Config:
    """`sizes` pictures are normalized together, out of `batch` in a step."""

    seed: int = 0
    seeds: int = 2
    sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    batch: int = 64
    steps: int = 600
    learning_rate: float = 0.2
    groups: int = 4
    width: int = 8
    warmup: int = 100


class GhostRenorm(normalization.BatchRenorm2d):
    """Batch renormalization of every `size` rows by themselves."""

    def __init__(self, channels: int, size: int, warmup: int) -> None:
        # The bounds open by batches seen, of which a step has several.
        super().__init__(channels, warmup=warmup)
        self.size = size

    def _normalize_batch(self, input: Tensor) -> Tensor:
        normalize = super()._normalize_batch
        return torch.cat([normalize(rows) for rows in torch.split(input, self.size)])


class LayerNorm2d(normalization.GroupNorm):
    """Layer normalization of [N, C, H, W] whatever H and W: one group (GN(1) = LN)."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)


def layer(config: Config, kind: str, size: int) -> Normalization:
    """What makes the normalization of `kind` for a number of channels."""
    makers: dict[str, Normalization] = {
        "ghost": lambda c: normalization.GhostBatchNorm2d(c, ghost_size=size),
        "renorm": lambda c: GhostRenorm(c, size, config.warmup * config.batch // size),
        "layer": LayerNorm2d,
        "instance": lambda c: normalization.InstanceNorm2d(c, affine=True),
        "group": lambda c: normalization.GroupNorm(config.groups, c),
    }
    return makers[kind]


def run(lab: Lab, config: Config) -> Results:
    """Every normalization and size; those per sample know no size."""
    variants = [(kind, size) for kind in BY_BATCH for size in config.sizes]
    variants += [(kind, 0) for kind in PER_SAMPLE]
    runs = []
    for kind, size in variants:
        for seed in range(config.seed, config.seed + config.seeds):

            def work(part: Part, kind: str = kind, size: int = size, seed: int = seed) -> Results:
                network = SmallCnn(layer(config, kind, size), width=config.width)
                every = max(1, config.steps // 10)
                plan = Plan(config.steps, config.batch, config.learning_rate, every, seed)
                history = descend(part, network, lab.digits, plan)
                seen = _training_accuracy(lab, network) if size else None
                return {"history": history, "final": history[-1]["accuracy"], "by_batch": seen}

            name = f"{kind}-{size}-seed{seed}" if size else f"{kind}-seed{seed}"
            runs.append({"kind": kind, "size": size} | lab.part(name, work, seed=seed))
    return {"runs": runs}


def _training_accuracy(lab: Lab, network: nn.Module) -> float:
    """Test accuracy when the test pictures are normalized as in training."""
    data = lab.digits
    logits = logits_of(network, data.test_images, batch=960, training=True)
    return accuracy(logits, data.test_labels)


def section(config: Any, results: Results) -> Section:
    """Accuracy by the size of the normalized batch."""
    means = {
        (kind, size): _mean(results, kind, size, "final")
        for kind in BY_BATCH
        for size in config.sizes
    }
    flat = {kind: _mean(results, kind, 0, "final") for kind in PER_SAMPLE}
    least, largest = min(config.sizes), max(config.sizes)
    ghost = {size: means["ghost", size] for size in config.sizes}
    gaps = {size: ghost[size] - _mean(results, "ghost", size, "by_batch") for size in config.sizes}
    best = max(ghost, key=lambda size: ghost[size])
    sizes = ", ".join(f"{percent(value)} at {size}" for size, value in ghost.items())
    findings = [
        Finding(
            "BN must not be used with small batches.",
            "000",
            f"Test accuracy with BN: {sizes}.",
            verdict(ghost[least] < ghost[largest], ghost[least] == min(ghost.values())),
        ),
        Finding(
            "The larger the batch, the better.",
            "002",
            f"Best at {best}; {sizes}.",
            verdict(ghost[least] < ghost[largest], list(ghost.values()) == sorted(ghost.values())),
        ),
        Finding(
            "Where batches are small, GN, which does not depend on the batch, is ahead of BN.",
            "002; Wu & He 2018",
            ", ".join(f"{words} {percent(flat[kind])}" for kind, words in PER_SAMPLE.items())
            + f"; BN at {least}: {percent(ghost[least])}.",
            verdict(flat["group"] > ghost[least]),
        ),
        Finding(
            "Batch renormalization is ahead of BN where batches are small.",
            "Ioffe 2017",
            f"At {least}: {percent(means['renorm', least])} against {percent(ghost[least])}.",
            verdict(means["renorm", least] > ghost[least]),
        ),
        Finding(
            "Training by the batch and testing by moving averages part as the batch shrinks.",
            "Wu & Johnson 2021",
            "Accuracy by moving averages, less that by test batches of the same size: "
            + ", ".join(f"{100 * gap:+.2f} points at {size}" for size, gap in gaps.items())
            + ".",
            verdict(abs(gaps[least]) > abs(gaps[largest])),
        ),
    ]
    rows = [
        (str(size), *(_shown(results, kind, size) for kind in BY_BATCH)) for size in config.sizes
    ]
    rows.append(("any", "; ".join(f"{PER_SAMPLE[k]} {_shown(results, k, 0)}" for k in flat), ""))
    table = Table(
        f"Test accuracy after {config.steps} steps of {config.batch}, by seed",
        ("normalized together", *BY_BATCH.values()),
        rows,
    )
    spread = 100 * max(_spread(results, *variant) for variant in means)
    notes = [
        f"Runs that differ in their seed alone are up to {spread:.2f} points apart: smaller "
        "differences say nothing."
    ]
    return Section(findings, [table], [_plot(config, results)], notes if config.seeds > 1 else [])


def _values(results: Results, kind: str, size: int, what: str) -> list[float]:
    return [run[what] for run in results["runs"] if (run["kind"], run["size"]) == (kind, size)]


def _mean(results: Results, kind: str, size: int, what: str) -> float:
    values = _values(results, kind, size, what)
    return sum(values) / len(values)


def _spread(results: Results, kind: str, size: int) -> float:
    values = _values(results, kind, size, "final")
    return max(values) - min(values)


def _shown(results: Results, kind: str, size: int) -> str:
    return ", ".join(percent(value) for value in _values(results, kind, size, "final"))


def _plot(config: Any, results: Results) -> Plot:
    figure, (axes,) = figures.panels(height=3.6)
    for (kind, words), colour in zip(BY_BATCH.items(), ("blue", "purple"), strict=True):
        values = [_values(results, kind, size, "final") for size in config.sizes]
        runs = [[100 * value for value in run] for run in zip(*values, strict=True)]
        style = {"color": figures.COLOURS[colour], "label": words, "marker": "o"}
        figures.band(axes, config.sizes, runs, **style)
    for (kind, words), colour in zip(PER_SAMPLE.items(), ("green", "gold", "red"), strict=True):
        value = 100 * _mean(results, kind, 0, "final")
        axes.axhline(value, color=figures.COLOURS[colour], linestyle="--", label=words)
    axes.set_xscale("log", base=2)
    axes.set_xticks(config.sizes, [str(size) for size in config.sizes])
    figures.label(axes, "", "pictures normalized together", "test accuracy, %")
    figures.shared_legend(figure, axes, ncols=3)
    words = f"Test accuracy after {config.steps} steps; mean and range of the seeds."
    return Plot("accuracy", words, figure)


EXPERIMENT = Experiment(
    name="batch-size",
    title="Small batches, and the normalizations that need none",
    setup=(
        "Three 3×3 convolutions of stride 2 (8, 16, 32 channels), normalized, ReLU, a linear "
        "layer; MNIST from 0 to 1, cross-entropy, plain SGD with batches of 64 at one rate. BN and "
        "batch renormalization take their statistics over 2 to 64 of the 64 pictures; LN, IN and "
        "GN (4 groups) over each picture. All layers are this toolkit's. MNIST is an easy set: on "
        "harder ones the differences are larger (ResNet-50 on ImageNet, error at 32 and at 2 "
        "pictures: BN 23.6 and 34.7 %, GN 24.1 and 24.1 %; Wu & He 2018)."
    ),
    full=Config(),
    quick=Config(seeds=1, sizes=(4, 64), steps=60, warmup=20),
    run=run,
    section=section,
)
