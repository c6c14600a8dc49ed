"""`init-scale`: training from initial weights that are far too small or far too large."""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from torch import nn

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
from training.experiments.networks import KINDS, Mlp
from training.experiments.optimize import Plan, descend, has_diverged
from training.experiments.sweeps import accuracy_plot, shown

LEARNED = 0.8


@dataclass(frozen=True, slots=True)
class Config:
    """`stds` are the widths of the initial weights of all layers."""

    seed: int = 0
    seeds: int = 2
    stds: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    activations: tuple[str, ...] = ("sigmoid", "relu")
    learning_rate: float = 0.1
    steps: int = 2_000
    batch: int = 60


def run(lab: Lab, config: Config) -> Results:
    """Every activation, network, width and seed."""
    runs = []
    for activation, kind, std in product(config.activations, KINDS, config.stds):
        for seed in range(config.seed, config.seed + config.seeds):

            def work(
                part: Part, a: str = activation, k: str = kind, std: float = std, s: int = seed
            ) -> Results:
                network = Mlp(None if k == "plain" else nn.BatchNorm1d, activation=a, std=std)
                every = max(1, config.steps // 10)
                plan = Plan(config.steps, config.batch, config.learning_rate, every, s)
                history = descend(part, network, lab.digits, plan)
                final = 0.0 if has_diverged(history) else history[-1]["accuracy"]
                return {"history": history, "final": final}

            keys = {"activation": activation, "kind": kind, "std": std}
            name = f"{activation}-{kind}-std{std:g}-seed{seed}"
            runs.append(keys | lab.part(name, work, seed=seed))
    return {"runs": runs}


def section(config: Any, results: Results) -> Section:
    """How many starts each network survives."""
    learned = {
        (a, k): [std for std in config.stds if min(_finals(results, a, k, std)) > LEARNED]
        for a, k in product(config.activations, KINDS)
    }
    more = [len(learned[a, "batch"]) > len(learned[a, "plain"]) for a in config.activations]
    every = [len(learned[a, "batch"]) == len(config.stds) for a in config.activations]
    words = "; ".join(
        f"{a}: without BN from std {_listed(learned[a, 'plain'])}, with BN from "
        f"{_listed(learned[a, 'batch'])}"
        for a in config.activations
    )
    findings = [
        Finding(
            "With BN one need be less careful about initialization.",
            "paper, abstract; 004",
            f"Over {percent(LEARNED, 0)} test accuracy after {config.steps:,} steps: {words}.",
            verdict(*more),
        ),
        Finding(
            "The network becomes insensitive to the initial weights.",
            "004",
            "With BN accuracy still ranges from "
            + "; ".join(
                f"{percent(min(values), 1)} to {percent(max(values), 1)} ({a})"
                for a in config.activations
                for values in [[v for s in config.stds for v in _finals(results, a, "batch", s)]]
            )
            + " over the widths.",
            verdict(*every),
        ),
    ]
    rows = [
        (
            activation,
            f"{std:g}",
            *(shown(_finals(results, activation, kind, std)) for kind in KINDS),
        )
        for activation, std in product(config.activations, config.stds)
    ]
    header = ("activation", "std", *KINDS.values())
    notes = [
        "BN takes the scale of the weights out of the forward pass, but not out of the "
        "optimization: the gradient of weights a times as large is 1/a as large (see "
        "learning-rate), so that at a given rate wide weights hardly turn, and the output layer, "
        "which is not normalized, keeps its scale."
    ]
    table = Table(f"Test accuracy after {config.steps:,} steps, by seed", header, rows)
    return Section(findings, [table], [_plot(config, results)], notes)


def _finals(results: Results, activation: str, kind: str, std: float) -> list[float]:
    return [
        run["final"]
        for run in results["runs"]
        if (run["activation"], run["kind"], run["std"]) == (activation, kind, std)
    ]


def _listed(stds: list[float]) -> str:
    return ", ".join(f"{std:g}" for std in stds) or "none"


def _plot(config: Any, results: Results) -> Plot:
    return accuracy_plot(
        ("std of the initial weights", {std: std for std in config.stds}),
        config.activations,
        KINDS,
        partial(_finals, results),
        config.steps,
    )


EXPERIMENT = Experiment(
    name="init-scale",
    title="Careless initialization",
    setup=(
        "784–100–100–100–10 with sigmoid and with ReLU, all weights from N(0, std²) over four "
        "orders of magnitude. MNIST from 0 to 1, cross-entropy, plain SGD at one rate, batches of "
        "60."
    ),
    full=Config(),
    quick=Config(seeds=1, steps=400, stds=(0.001, 0.1, 1.0)),
    run=run,
    section=section,
)
