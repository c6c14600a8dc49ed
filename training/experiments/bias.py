"""`bias`: the thought experiment of Ioffe & Szegedy 2015, section 2, run.

A layer adds a learned b to u and subtracts the mean. If the gradient does not know that the mean
depends on b, every step moves b and nothing else: b grows without bound, the loss stands still.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.experiments import figures
from training.experiments.digits import Digits
from training.experiments.experiment import (
    Experiment,
    Finding,
    Plot,
    Results,
    Section,
    Table,
    verdict,
)
from training.experiments.lab import Lab, Part
from training.experiments.networks import Mlp
from training.experiments.optimize import Plan, descend, has_diverged

EPSILON = 1e-5
Kind = Literal["proper", "detached-mean", "detached"]
KINDS: dict[Kind, str] = {
    "proper": "gradient through the statistics",
    "detached-mean": "mean taken as a constant",
    "detached": "mean and variance taken as constants",
}


@dataclass(frozen=True, slots=True)
class Config:
    """`alone` steps of b alone, then `steps` of a whole network with such layers."""

    seed: int = 0
    alone: int = 1_000
    alone_rate: float = 0.1
    rows: int = 256
    steps: int = 3_000
    batch: int = 60
    learning_rate: float = 0.5
    std: float = 0.1


class BiasedNorm(nn.Module):
    """x = u + b, x̂ = (x - mean)/σ over the batch, γx̂ + β. [N, C]; always by the batch.

    `detached-mean` only centres, as in the thought experiment; `detached` also scales.
    """

    def __init__(self, channels: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.b = nn.Parameter(torch.zeros(channels))
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, u: Tensor) -> Tensor:
        """u [N, C] to [N, C]."""
        x = u + self.b
        mean, var = x.mean(0), x.var(0, correction=0)
        if self.kind != "proper":
            mean, var = mean.detach(), var.detach()
        x = x - mean
        if self.kind != "detached-mean":
            x = x / (var + EPSILON).sqrt()
        return x * self.scale + self.shift


def run(lab: Lab, config: Config) -> Results:
    """b alone, in float64; then whole networks."""
    results: Results = {"alone": {}, "networks": {}}
    for kind in KINDS:

        def alone(part: Part, kind: Kind = kind) -> Results:
            return _alone(part, config, lab.digits, kind)

        def network(part: Part, kind: Kind = kind) -> Results:
            return _network(part, config, lab.digits, kind)

        results["alone"][kind] = lab.part(f"alone-{kind}", alone, seed=config.seed)
        results["networks"][kind] = lab.part(f"network-{kind}", network, seed=config.seed)
    return results


def _alone(part: Part, config: Config, data: Digits, kind: Kind) -> Results:
    """Only b learns: a unit of fixed input u and a fixed output layer, real pictures and labels."""
    images = data.images[: config.rows].flatten(1).double()
    u = images @ (torch.randn(28 * 28, 1, dtype=torch.float64) * config.std)
    out = torch.randn(1, 10, dtype=torch.float64)
    layer = BiasedNorm(1, kind).double()
    rows = []
    for step in range(config.alone + 1):
        loss = nn.functional.cross_entropy(layer(u) @ out, data.labels[: config.rows])
        (gradient,) = torch.autograd.grad(loss, layer.b)
        if step % max(1, config.alone // 50) == 0:
            rows.append([step, layer.b.item(), loss.item(), gradient.item()])
            part.log(step, {"b": rows[-1][1], "loss": rows[-1][2]})
        with torch.no_grad():
            layer.b.sub_(config.alone_rate * gradient)
        part.advance(step, config.alone)
    return {"rows": rows}


def _network(part: Part, config: Config, data: Digits, kind: Kind) -> Results:
    network = Mlp(lambda channels: BiasedNorm(channels, kind), std=config.std)
    layers = [module for module in network.modules() if isinstance(module, BiasedNorm)]

    def observe(step: int, chosen: Tensor) -> dict[str, float]:
        largest = max(float(layer.b.detach().abs().max()) for layer in layers)
        weights = [
            m.weight.detach().abs().max() for m in network.hidden if isinstance(m, nn.Linear)
        ]
        return {"b": largest, "weight": float(torch.stack(weights).max())}

    every = max(1, config.steps // 30)
    plan = Plan(config.steps, config.batch, config.learning_rate, every, config.seed)
    history = descend(part, network, data, plan, observe)
    return {"history": history, "diverged": has_diverged(history)}


def section(config: Any, results: Results) -> Section:
    """How far b went, and the loss meanwhile."""
    alone = {kind: results["alone"][kind]["rows"] for kind in KINDS}
    ends = {kind: rows[-1] for kind, rows in alone.items()}
    losses = {kind: [row[2] for row in rows] for kind, rows in alone.items()}
    moved = {kind: max(values) - min(values) for kind, values in losses.items()}
    middle = alone["detached-mean"][len(alone["detached-mean"]) // 2]
    linear = ends["detached-mean"][1] / middle[1] * middle[0] / ends["detached-mean"][0]
    largest = {k: results["networks"][k]["history"][-1]["b"] or float("inf") for k in KINDS}
    finals = {k: results["networks"][k]["history"][-1] for k in KINDS}
    findings = [
        Finding(
            "If the gradient ignores E[x], b grows without bound while output and loss do not "
            "change.",
            "paper 2; 004",
            f"After {config.alone:,} steps b = {ends['detached-mean'][1]:.3g}, {linear:.4f} of "
            "what straight growth from half way gives, and the loss moved by "
            f"{moved['detached-mean']:.1e}.",
            verdict(abs(linear - 1) < 0.01, moved["detached-mean"] < 1e-9),
        ),
        Finding(
            "It is worse where the normalization also scales: the model blows up.",
            "paper 2",
            f"Centred and scaled, b alone reaches {ends['detached'][1]:.3g} against "
            f"{ends['detached-mean'][1]:.3g} centred only. In whole networks: "
            + "; ".join(f"{KINDS[k]}: {_fate(results['networks'][k])}" for k in KINDS)
            + ".",
            verdict(
                abs(ends["detached"][1]) > abs(ends["detached-mean"][1]),
                results["networks"]["detached"]["diverged"],
            ),
        ),
        Finding(
            "With the gradient through the statistics, b does not move: its gradient is 0.",
            "paper 2, 3; 000",
            f"b alone: {ends['proper'][1]:.1e} after {config.alone:,} steps; in the network the "
            f"largest |b| is {largest['proper']:.1e}, and test accuracy "
            f"{100 * finals['proper']['accuracy']:.1f} %.",
            verdict(abs(ends["proper"][1]) < 1e-9, largest["proper"] < 1e-3),
        ),
    ]
    rows = [
        (words, f"{ends[kind][1]:.3g}", f"{moved[kind]:.1e}", _fate(results["networks"][kind]))
        for kind, words in KINDS.items()
    ]
    header = ("normalization", "b alone", "its loss moved by", "in a network")
    caption = f"After {config.alone:,} steps of b alone (float64), {config.steps:,} of a network"
    return Section(findings, [Table(caption, header, rows)], [_plot(results, alone)])


def _fate(run: Results) -> str:
    last = run["history"][-1]
    if run["diverged"]:
        return f"diverged at step {last['step']:,.0f}"
    return f"largest |b| {last['b']:.2g}, test accuracy {100 * last['accuracy']:.1f} %"


def _plot(results: Results, alone: dict[Kind, list[list[float]]]) -> Plot:
    figure, (left, middle, right) = figures.panels(3, height=3.4)
    for (kind, words), colour in zip(KINDS.items(), ("blue", "orange", "red"), strict=True):
        style: dict[str, Any] = {"color": figures.COLOURS[colour]}
        dashed = "--" if kind == "detached" else "-"
        steps = [row[0] for row in alone[kind]]
        left.plot(steps, [row[1] for row in alone[kind]], linestyle=dashed, label=words, **style)
        middle.plot(steps, [row[2] for row in alone[kind]], linestyle=dashed, **style)
        history = results["networks"][kind]["history"]
        shown = [row for row in history if row["b"]]
        right.plot([row["step"] for row in shown], [row["b"] for row in shown], **style)
    right.set_yscale("log")
    figures.label(left, "b alone", "step", "b")
    figures.label(middle, "its loss", "step", "cross-entropy")
    figures.label(right, "in a network", "step", "largest |b|")
    figures.shared_legend(figure, left)
    words = (
        "The bias and the loss when only b learns, and the largest bias in a network that learns."
    )
    return Plot("bias", words, figure)


EXPERIMENT = Experiment(
    name="bias",
    title="The bias that grows without bound (Ioffe & Szegedy, section 2)",
    setup=(
        "First one unit u + b, normalized over 256 digits, before a fixed output layer; only b "
        "learns, by gradient descent in float64. Then the network of mlp with a bias before each "
        "normalization, everything learning. The proper normalization is compared with one whose "
        "mean, and one whose mean and variance, are constants to the gradient."
    ),
    full=Config(),
    quick=Config(alone=200, steps=300),
    run=run,
    section=section,
)
