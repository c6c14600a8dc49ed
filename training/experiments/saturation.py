"""`saturation`: sigmoid units whose input is so large that no gradient passes, layer by layer."""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from training.experiments import figures
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
from training.experiments.optimize import Plan, descend, evaluate

SATURATED = 4.0  # |x| beyond which the slope of a sigmoid is below 0.018
OBSERVED = 1000


@dataclass(frozen=True, slots=True)
class Config:
    """`stds` are the widths of the initial weights: a usual one and a careless one."""

    seed: int = 0
    depth: int = 5
    stds: tuple[float, ...] = (0.1, 1.0)
    learning_rate: float = 0.5
    steps: int = 6_000
    every: int = 200
    batch: int = 60


def run(lab: Lab, config: Config) -> Results:
    """Both networks from both starts."""
    runs: Results = {}
    for kind, std in product(KINDS, config.stds):

        def work(part: Part, kind: str = kind, std: float = std) -> Results:
            network = Mlp(None if kind == "plain" else nn.BatchNorm1d, depth=config.depth, std=std)
            images = lab.digits.test_images[:OBSERVED]

            def observe(step: int, chosen: Tensor) -> dict[str, float]:
                return saturated_shares(network, images)

            plan = Plan(config.steps, config.batch, config.learning_rate, config.every, config.seed)
            first = {"step": 0, **evaluate(network, lab.digits, plan.loss), **observe(0, images)}
            return {"history": [first, *descend(part, network, lab.digits, plan, observe)]}

        runs.setdefault(kind, {})[str(std)] = lab.part(f"{kind}-std{std:g}", work, seed=config.seed)
    return runs


def saturated_shares(network: Mlp, images: Tensor) -> dict[str, float]:
    """`layer1`, `layer2`, …: the share of (picture, unit) pairs with |input| over 4.

    Normalized by the batch, as in training, without moving the statistics.
    """
    shares: dict[str, float] = {}
    x = images
    with torch.no_grad():
        for name, module in network.hidden.named_children():
            if isinstance(module, nn.BatchNorm1d):
                x = nn.functional.batch_norm(x, None, None, module.weight, module.bias, True)
            else:
                x = module(x)
            if f"hidden.{name}" in network.pre_activations:
                share = (x.abs() > SATURATED).double().mean()
                shares[f"layer{len(shares) + 1}"] = float(share)
    return shares


def section(config: Any, results: Results) -> Section:
    """The shares at the start, at their peak and at the end."""
    layers = [f"layer{number + 1}" for number in range(config.depth)]
    peaks = {
        (kind, str(std)): [
            max(row[layer] for row in _history(results, kind, std)) for layer in layers
        ]
        for kind, std in product(KINDS, config.stds)
    }
    ends = {
        (kind, str(std)): _history(results, kind, std)[-1]["accuracy"]
        for kind, std in product(KINDS, config.stds)
    }
    careless, usual = str(max(config.stds)), str(min(config.stds))
    plain = peaks["plain", careless]
    findings = [
        Finding(
            "BN keeps the inputs of the nonlinearity out of the saturated regime.",
            "paper 1, 3.3; 003 2.2",
            "Largest share of saturated inputs in any layer at any time: "
            + "; ".join(
                f"std {std}: {percent(max(peaks['plain', std]), 1)} without BN, "
                f"{percent(max(peaks['batch', std]), 1)} with it"
                for std in (usual, careless)
            )
            + ".",
            verdict(*(max(peaks["batch", s]) <= max(peaks["plain", s]) for s in (usual, careless))),
        ),
        Finding(
            "The effect grows with depth.",
            "paper 1",
            f"Peak share by layer without BN from std {careless}: "
            + ", ".join(percent(share, 1) for share in plain)
            + ".",
            verdict(all(a <= b for a, b in pairwise(plain))),
        ),
        Finding(
            "A saturated network trains slowly; a normalized one does not.",
            "paper 1; 001-4",
            f"Test accuracy after {config.steps:,} steps: "
            + "; ".join(
                f"std {std}: {percent(ends['plain', std])} without BN, "
                f"{percent(ends['batch', std])} with it"
                for std in (usual, careless)
            )
            + ".",
            verdict(*(ends["batch", std] > ends["plain", std] for std in (usual, careless))),
        ),
    ]
    rows = [
        (
            words,
            f"{std:g}",
            layer[5:],
            *tuple(percent(_history(results, kind, std)[i][layer], 1) for i in (0, -1)),
            percent(peaks[kind, str(std)][number], 1),
        )
        for std, (kind, words) in product(config.stds, KINDS.items())
        for number, layer in enumerate(layers)
    ]
    header = ("network", "std", "layer", "at the start", "at the end", "peak")
    table = Table("Share of inputs with |x| > 4 (1,000 test images, all units)", header, rows)
    notes = [
        "Depth alone does not saturate here: from weights that are too wide every layer after the "
        "first has inputs of the same spread, since a sigmoid's outputs are bounded; the first "
        "layer sees the pictures, which are mostly 0."
    ]
    return Section(findings, [table], [_plot(config, results, layers)], notes)


def _history(results: Results, kind: str, std: float) -> list[dict[str, float]]:
    history: list[dict[str, float]] = results[kind][str(std)]["history"]
    return history


def _plot(config: Any, results: Results, layers: list[str]) -> Plot:
    figure, grid = figures.panels(2, rows=len(config.stds), height=5.2)
    cells = product(config.stds, KINDS.items())
    for axes, (std, (kind, words)) in zip(grid, cells, strict=True):
        history = _history(results, kind, std)
        for number, layer in enumerate(layers, start=1):
            shares = [100 * row[layer] for row in history]
            axes.plot([row["step"] for row in history], shares, label=f"layer {number}")
        axes.set_ylim(-3, 100)
        figures.label(axes, f"{words}, std {std:g}", "step", "saturated, %")
    figures.legend(grid[0], loc="upper right", ncols=2)
    words = "Share of sigmoid inputs beyond ±4, by layer, over training."
    return Plot("shares", words, figure)


EXPERIMENT = Experiment(
    name="saturation",
    title="Saturated sigmoids",
    setup=(
        "784–(100)×5–10, sigmoid, with and without batch normalization, from weights N(0, std²) of "
        "a usual and of a careless width. MNIST from 0 to 1, cross-entropy, plain SGD, batches of "
        "60. A unit counts as saturated for a picture where the input of its sigmoid is beyond ±4."
    ),
    full=Config(),
    quick=Config(steps=400, every=100),
    run=run,
    section=section,
)
