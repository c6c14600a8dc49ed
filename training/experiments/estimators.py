"""`estimators`: which statistics to freeze: moving averages, cumulative ones, or the population's.

Paper, section 3.1 and Algorithm 2; Wu & Johnson 2021 on what the moving average gets wrong.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from training.experiments import figures
from training.experiments.digits import Digits, accuracy, logits_of
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
from training.experiments.networks import SmallCnn
from training.experiments.optimize import Plan, descend
from training.population import as_statistics, distance, estimate, freeze

MOMENTA: dict[str, float | None] = {
    "EMA, momentum 0.1": 0.1,
    "EMA, momentum 0.9": 0.9,
    "cumulative": None,
}
POPULATION = "population (Algorithm 2)"

Population = Callable[[nn.Module], dict[str, dict[str, Tensor]]]  # the statistics of a network


@dataclass(frozen=True, slots=True)
class Config:
    """Training at `learning_rate`, `averaged` snapshots taken evenly over it, then `settle` steps
    at a hundredth of it; `population` and `sizes` count pictures."""

    seed: int = 0
    steps: int = 3_000
    settle: int = 300
    batch: int = 64
    learning_rate: float = 1.0
    averaged: int = 10
    population: int = 10_000
    sizes: tuple[int, ...] = (16, 64, 256, 1_024, 4_096)
    width: int = 8


def run(lab: Lab, config: Config) -> Results:
    """One training for each momentum: the weights come out the same, the statistics do not."""
    results: Results = {}
    for name, momentum in MOMENTA.items():

        def work(part: Part, momentum: float | None = momentum) -> Results:
            return _train(part, config, lab.digits, momentum)

        key = "cumulative" if momentum is None else f"momentum{momentum:g}"
        results[name] = lab.part(key, work, seed=config.seed)
    return results


def _train(part: Part, config: Config, data: Digits, momentum: float | None) -> Results:
    network = SmallCnn(lambda c: nn.BatchNorm2d(c, momentum=momentum), width=config.width)
    snapshots: list[dict[str, Tensor]] = []

    def observe(step: int, chosen: Tensor) -> dict[str, float]:
        snapshots.append({name: v.clone() for name, v in network.state_dict().items()})
        return {}

    every = max(1, config.steps // config.averaged)
    plan = Plan(config.steps, config.batch, config.learning_rate, every, config.seed)
    history = descend(part, network, data, plan, observe)
    images = data.images[torch.randperm(len(data.images))]
    population = _population(images[: config.population])
    averaged, blended = copy.deepcopy(network), copy.deepcopy(network)
    averaged.load_state_dict(_mean(snapshots, network.state_dict()))
    blended.load_state_dict(_mean(snapshots, network.state_dict(), statistics=True))
    settle = replace(plan, steps=config.settle, learning_rate=config.learning_rate / 100)
    history += descend(part, network, data, settle)
    sizes = [[n, _with(network, data, _population(images[:n]))] for n in config.sizes]
    return {
        "history": history,
        "after": _compared(network, data, population),
        "averaged": _compared(averaged, data, population),
        "blended": accuracy(logits_of(blended, data.test_images), data.test_labels),
        "sizes": sizes,
        "weights": float(sum(p.detach().double().abs().sum() for p in network.parameters())),
    }


def _population(images: Tensor, batch: int = 256) -> Population:
    parts = torch.split(images, min(batch, len(images)))
    return lambda network: as_statistics(estimate(network, parts))


def _compared(network: nn.Module, data: Digits, population: Population) -> Results:
    """Accuracy with the running statistics and with the population's, and their distance."""
    statistics = population(network)
    distances = distance(network, statistics).values()
    running = accuracy(logits_of(network, data.test_images), data.test_labels)
    return {
        "running": running,
        "population": _with(network, data, lambda _: statistics),
        "mean_distance": max(mean for mean, _ in distances),
        "variance_distance": max(var for _, var in distances),
    }


def _with(network: nn.Module, data: Digits, population: Population) -> float:
    """Test accuracy of a copy with those statistics frozen."""
    other = copy.deepcopy(network)
    freeze(other, population(network))
    return accuracy(logits_of(other, data.test_images), data.test_labels)


def _mean(
    snapshots: list[dict[str, Tensor]], last: dict[str, Tensor], *, statistics: bool = False
) -> dict[str, Tensor]:
    """The mean of the snapshots' weights, and of their running statistics if asked for."""
    kept = {} if statistics else {name: v for name, v in last.items() if "running" in name}
    means = {
        name: torch.stack([shot[name].double() for shot in snapshots]).mean(0).to(value.dtype)
        for name, value in last.items()
    }
    return means | kept


def updates_to_forget(kept: float, share: float = 0.01) -> int:
    """How many updates leave at most `share` of the initial value, keeping `kept` of it each."""
    remaining, updates = 1.0, 0
    while remaining > share:
        remaining, updates = remaining * kept, updates + 1
    return updates


def section(config: Any, results: Results) -> Section:
    """The estimators side by side, after training and after weight averaging."""
    gap = {
        name: abs(r["after"]["running"] - r["after"]["population"]) for name, r in results.items()
    }
    usual, fast = results["EMA, momentum 0.1"], results["EMA, momentum 0.9"]
    stale = {name: r["averaged"] for name, r in results.items()}
    lost = {name: r["population"] - r["running"] for name, r in stale.items()}
    findings = [
        Finding(
            "Moving averages can stand for the population's statistics at inference.",
            "paper 3.1; 002; 000",
            "After training, accuracy differs from that with Algorithm 2's statistics by "
            + "; ".join(f"{percent(g)} ({name})" for name, g in gap.items())
            + ".",
            verdict(*(g < 0.005 for g in gap.values())),
        ),
        Finding(
            "A moving average that keeps little of the past is noisy.",
            "003 (momentum 0.1 on the old value); Wu & Johnson 2021",
            "Distance of the means from the population's, in σ: "
            f"{usual['after']['mean_distance']:.3f} at momentum 0.1, "
            f"{fast['after']['mean_distance']:.3f} at 0.9.",
            verdict(fast["after"]["mean_distance"] > usual["after"]["mean_distance"]),
        ),
        Finding(
            "After weight averaging the running statistics are stale: they belong to other "
            "weights.",
            "Wu & Johnson 2021; PyTorch's update_bn",
            "Averaged weights: "
            + "; ".join(
                f"{percent(r['running'])} with the last {name}" for name, r in stale.items()
            )
            + f"; {percent(usual['blended'])} with averaged moving averages; "
            f"{percent(usual['averaged']['population'])} with population statistics made anew.",
            verdict(*(value > 0.01 for value in lost.values())),
        ),
    ]
    rows = [
        (
            name,
            percent(r["after"]["running"]),
            f"{r['after']['mean_distance']:.4f}",
            f"{r['after']['variance_distance']:.4f}",
            percent(r["averaged"]["running"]),
        )
        for name, r in results.items()
    ]
    rows.append(
        (
            POPULATION,
            percent(usual["after"]["population"]),
            "0",
            "0",
            percent(usual["averaged"]["population"]),
        )
    )
    header = ("statistics", "accuracy", "mean off by, σ", "ln variance off by", "averaged weights")
    forget = [
        (
            f"{kept:g}",
            f"{1 - kept:g}",
            f"{updates_to_forget(kept):,}",
            f"{(1 + kept) / (1 - kept):.1f}",
        )
        for kept in (0.1, 0.9, 0.99, 0.999)
    ]
    sizes = [(f"{n:,}", percent(value)) for n, value in usual["sizes"]]
    return Section(
        findings,
        [
            Table("The same weights with each estimate (distances: largest layer)", header, rows),
            Table("Algorithm 2 from fewer pictures", ("pictures", "accuracy"), sizes),
            Table(
                "A moving average of batches, by arithmetic",
                (
                    "kept of the old",
                    "momentum (PyTorch)",
                    "updates until 1 % is left",
                    "batches averaged",
                ),
                forget,
            ),
        ],
        [_plot(results)],
        [
            "The cumulative average counts the statistics of the first weights as much as those "
            "of the last, and the network has moved far from the first; averaged weights lie "
            "between, and suit it better.",
            "The momentum changes nothing in training itself: the three networks end with the "
            f"same weights (sums of |w| {', '.join(str(r['weights']) for r in results.values())}).",
        ],
    )


def _plot(results: Results) -> Plot:
    figure, both = figures.panels(2, height=3.2)
    names = [*results, POPULATION]
    usual = results["EMA, momentum 0.1"]
    for axes, when, title in zip(both, ("after", "averaged"), _TITLES, strict=True):
        values = [100 * r[when]["running"] for r in results.values()]
        values.append(100 * usual[when]["population"])
        colours = [figures.COLOURS[name] for name in ("blue", "purple", "gold", "green")]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=9, color=figures.INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 125)
        axes.set_xticks(range(0, 101, 20))
        figures.label(axes, title, "test accuracy, %", "")
    both[1].set_yticklabels([])
    return Plot("estimators", "Test accuracy of the same weights with each estimate.", figure)


_TITLES = ("After training", "After averaging the weights")

EXPERIMENT = Experiment(
    name="estimators",
    title="Which statistics to freeze",
    setup=(
        "Three 3×3 convolutions of stride 2 (8, 16, 32 channels), BN, ReLU, a linear layer; MNIST "
        "from 0 to 1, cross-entropy, plain SGD, batches of 64; the rate falls to a hundredth for "
        "the last steps. Momentum in PyTorch's sense: the weight on the new value. Weights are "
        "averaged over snapshots taken evenly over training at the full rate; their statistics are "
        "those of the last of these steps, the averages of the snapshots', or made anew."
    ),
    full=Config(),
    quick=Config(steps=200, settle=40, population=2_000, sizes=(16, 256)),
    run=run,
    section=section,
)
