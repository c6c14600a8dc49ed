"""`learning-rate`: Ioffe & Szegedy 2015, section 3.3: with BN larger rates work, and why."""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
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

LEARNED = 0.8  # below this test accuracy a run is called stuck


@dataclass(frozen=True, slots=True)
class Config:
    """The learning rates are `base_rate` times `factors`; `scales` are the a of BN(aWu)."""

    seed: int = 0
    seeds: int = 2
    base_rate: float = 0.05
    factors: tuple[float, ...] = (1, 5, 30, 100, 300, 1000)
    activations: tuple[str, ...] = ("sigmoid", "relu")
    steps: int = 2_000
    batch: int = 60
    std: float = 0.1
    scales: tuple[float, ...] = (0.1, 10, 100)


def run(lab: Lab, config: Config) -> Results:
    """Every activation, network, factor and seed; then the identities of section 3.3."""
    runs = []
    for activation, kind, factor in product(config.activations, KINDS, config.factors):
        for seed in range(config.seed, config.seed + config.seeds):

            def work(
                part: Part, a: str = activation, k: str = kind, f: float = factor, s: int = seed
            ) -> Results:
                normalization = None if k == "plain" else nn.BatchNorm1d
                network = Mlp(normalization, activation=a, std=config.std)
                every = max(1, config.steps // 10)
                plan = Plan(config.steps, config.batch, f * config.base_rate, every, s)
                history = descend(part, network, lab.digits, plan)
                return {"history": history, "diverged": has_diverged(history)}

            name = f"{activation}-{kind}-x{factor:g}-seed{seed}"
            keys = {"activation": activation, "kind": kind, "factor": factor, "seed": seed}
            runs.append(keys | lab.part(name, work, seed=seed))
    scaled = lab.part("scaled-weights", lambda part: _scaled(config), seed=config.seed)
    return {"runs": runs, "scaled": scaled}


def _scaled(config: Config) -> Results:
    """BN(aWu) against BN(Wu) in float64 with ε = 0: outputs, gradients for u and for W."""
    u = torch.randn(60, 50, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(20, 50, dtype=torch.float64)
    direction = torch.randn(60, 20, dtype=torch.float64)

    def through(a: float) -> tuple[torch.Tensor, ...]:
        w = (a * weights).requires_grad_()
        x = u @ w.T
        y = (x - x.mean(0)) / x.var(0, correction=0).sqrt()
        return y, *torch.autograd.grad((y * direction).sum(), (u, w))

    def apart(left: torch.Tensor, right: torch.Tensor) -> float:
        return float((left - right).detach().abs().max() / right.detach().abs().max())

    y, for_u, for_w = through(1.0)
    rows = []
    for a in config.scales:
        scaled_y, scaled_u, scaled_w = through(a)
        rows.append([a, apart(scaled_y, y), apart(scaled_u, for_u), apart(a * scaled_w, for_w)])
    return {"rows": rows}


def section(config: Any, results: Results) -> Section:
    """Where each network stops learning, and how far the identities are off."""
    largest = {
        (activation, kind): max(
            (f for f in config.factors if _learned(results, activation, kind, f)), default=0
        )
        for activation, kind in product(config.activations, KINDS)
    }
    best = {
        (activation, kind): _best_factor(config, results, activation, kind)
        for activation, kind in product(config.activations, KINDS)
    }
    worst = max(max(row[1:]) for row in results["scaled"]["rows"])
    further = [largest[a, "batch"] > largest[a, "plain"] for a in config.activations]
    larger = [best[a, "batch"] > best[a, "plain"] for a in config.activations]
    findings = [
        Finding(
            "With BN the network trains at much larger learning rates.",
            "paper 3.3; 000, 004",
            "; ".join(
                f"{a}: learns {_up_to(largest[a, 'plain'])} without BN, "
                f"{_up_to(largest[a, 'batch'])} with it"
                for a in config.activations
            )
            + f". Learning means a test accuracy over {percent(LEARNED, 0)} for every seed.",
            verdict(*further),
        ),
        Finding(
            "The larger rate is what makes training faster.",
            "paper 3.3, 4.2",
            f"After {config.steps:,} steps, "
            + "; ".join(
                f"{a}: {percent(_mean(results, a, 'plain', slow))} without BN at its best rate, "
                f"×{slow:g}; BN has {percent(_mean(results, a, 'batch', slow))} there, and "
                f"{percent(_mean(results, a, 'batch', fast))} at its own best, ×{fast:g}"
                for a in config.activations
                for slow, fast in [(best[a, "plain"], best[a, "batch"])]
            )
            + ".",
            verdict(*larger),
        ),
        Finding(
            "BN(aWu) = BN(Wu); ∂/∂u is unchanged; ∂/∂(aW) is 1/a times ∂/∂W.",
            "paper 3.3",
            f"In float64 with ε = 0 the largest relative difference is {worst:.1e}.",
            verdict(worst < 1e-10),
        ),
    ]
    tables = [_table(config, results, activation) for activation in config.activations]
    identity = Table(
        "BN(aWu) against BN(Wu): largest difference, relative to the largest value",
        ("a", "output", "gradient for u", "a · gradient for aW"),
        [(f"{r[0]:g}", *(f"{v:.1e}" for v in r[1:])) for r in results["scaled"]["rows"]],
    )
    return Section(findings, [*tables, identity], [_plot(config, results)])


def _finals(results: Results, activation: str, kind: str, factor: float) -> list[float]:
    return [
        0.0 if run["diverged"] else run["history"][-1]["accuracy"]
        for run in results["runs"]
        if (run["activation"], run["kind"], run["factor"]) == (activation, kind, factor)
    ]


def _mean(results: Results, activation: str, kind: str, factor: float) -> float:
    finals = _finals(results, activation, kind, factor)
    return sum(finals) / len(finals)


def _best_factor(config: Any, results: Results, activation: str, kind: str) -> float:
    factors: tuple[float, ...] = config.factors
    return max(factors, key=lambda factor: _mean(results, activation, kind, factor))


def _learned(results: Results, activation: str, kind: str, factor: float) -> bool:
    return min(_finals(results, activation, kind, factor)) > LEARNED


def _up_to(factor: float) -> str:
    return f"up to ×{factor:g}" if factor else "at no rate"


def _table(config: Any, results: Results, activation: str) -> Table:
    rows = [
        (
            f"×{factor:g} ({factor * config.base_rate:g})",
            *(shown(_finals(results, activation, kind, factor)) for kind in KINDS),
        )
        for factor in config.factors
    ]
    caption = f"{activation}: test accuracy after {config.steps:,} steps, by seed"
    return Table(caption, ("rate", *KINDS.values()), rows)


def _plot(config: Any, results: Results) -> Plot:
    return accuracy_plot(
        ("learning rate", {factor: factor * config.base_rate for factor in config.factors}),
        config.activations,
        KINDS,
        partial(_finals, results),
        config.steps,
    )


EXPERIMENT = Experiment(
    name="learning-rate",
    title="Larger learning rates (Ioffe & Szegedy, section 3.3)",
    setup=(
        "784–100–100–100–10 with sigmoid and with ReLU, weights from N(0, 0.1²), MNIST from 0 to "
        "1, cross-entropy, plain SGD at a constant rate, batches of 60. The paper's factors ×5 and "
        "×30 and beyond, against a base rate at which every network learns slowly or not yet."
    ),
    full=Config(),
    quick=Config(seeds=1, factors=(5, 30, 100, 300), steps=400),
    run=run,
    section=section,
)
