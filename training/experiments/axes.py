"""`axes`: document 002's check of batch normalization by hand, and the axes of its relatives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training import normalization
from training.experiments import figures
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

Array = NDArray[np.float64]
LAYERS = {
    "batch": ((0, 2, 3), "N, H, W"),
    "layer": ((1, 2, 3), "C, H, W"),
    "instance": ((2, 3), "H, W"),
    "group": (None, "C/G, H, W"),
}
TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Config:
    """The document's shape, a larger one for the relatives, and `steps` of running statistics."""

    seed: int = 0
    shape: tuple[int, int, int, int] = (2, 2, 2, 2)
    larger: tuple[int, int, int, int] = (6, 4, 3, 5)
    groups: int = 2
    momentum: float = 0.1
    eps: float = 1e-5
    steps: int = 5


def run(lab: Lab, config: Config) -> Results:
    """Everything in float64, by NumPy from the formulas, against PyTorch and this toolkit."""

    def by_hand(part: Part) -> Results:
        generator = np.random.default_rng(config.seed)
        batches = generator.normal(size=(config.steps, *config.shape)) * 3 + 1
        return {"features": batches[0].tolist(), **_batch_norm(config, batches)}

    def relatives(part: Part) -> Results:
        x = np.random.default_rng(config.seed).normal(size=config.larger)
        return {name: _relative(config, name, x) for name in LAYERS}

    return {
        "worked": lab.part("worked", by_hand, seed=config.seed),
        "relatives": lab.part("relatives", relatives, seed=config.seed),
    }


def _batch_norm(config: Config, batches: Array) -> Results:
    """The document's procedure, per channel, over several batches; differences to both layers."""
    channels, eps, momentum = config.shape[1], config.eps, config.momentum
    layers = {
        "torch": nn.BatchNorm2d(channels, eps, momentum).double(),
        "ours": normalization.BatchNorm2d(channels, eps, momentum).double(),
    }
    mean, var = np.zeros(channels), np.ones(channels)
    biased = np.ones(channels)  # if the biased variance were tracked, by mistake
    differences = dict.fromkeys([f"{name}-{what}" for name in layers for what in _WHAT], 0.0)
    first: Results = {}
    for features in batches:
        mu, sigma2 = features.mean((0, 2, 3)), features.var((0, 2, 3))
        y = (features - mu[:, None, None]) / np.sqrt(sigma2[:, None, None] + eps)
        unbiased = features.var((0, 2, 3), ddof=1)
        mean = (1 - momentum) * mean + momentum * mu
        var = (1 - momentum) * var + momentum * unbiased
        biased = (1 - momentum) * biased + momentum * sigma2
        if not first:
            first = {"mean": mu, "biased": sigma2, "unbiased": unbiased, "output": y}
            first |= {"running_mean": mean, "running_var": var}
        for name, layer in layers.items():
            output = layer(torch.from_numpy(features)).detach().numpy()
            buffers = dict(layer.named_buffers())
            tracked = (buffers["running_mean"].numpy(), buffers["running_var"].numpy())
            found = dict(zip(_WHAT, (output, *tracked), strict=True))
            for what, expected in zip(_WHAT, (y, mean, var), strict=True):
                key = f"{name}-{what}"
                difference = float(np.abs(found[what] - expected).max())
                differences[key] = max(differences[key], difference)
    mistake = float(np.abs(var - biased).max())
    first = {name: value.tolist() for name, value in first.items()}
    return {"first": first, "differences": differences, "biased_mistake": mistake}


_WHAT = ("output", "running mean", "running variance")


def _relative(config: Config, name: str, x: Array) -> Results:
    """One layer by the formula over its axes, PyTorch's, and this toolkit's."""
    n, c, h, w = config.larger
    axes = LAYERS[name][0]
    shape = x.shape if axes else (n, config.groups, c // config.groups, h, w)
    values = x.reshape(shape)
    over = axes or (2, 3, 4)
    centred = values - values.mean(over, keepdims=True)
    expected = centred / np.sqrt(values.var(over, keepdims=True) + config.eps)
    differences = []
    for module in (nn, normalization):
        layer = _layer(config, module, name).double()
        found = layer(torch.from_numpy(x)).detach().numpy()
        differences.append(float(np.abs(found - expected.reshape(x.shape)).max()))
    count = x.size // values.mean(over).size
    return {"values": count, "torch": differences[0], "ours": differences[1]}


def _layer(config: Config, module: Any, name: str) -> nn.Module:
    _, c, h, w = config.larger
    makers = {
        "batch": lambda: module.BatchNorm2d(c, eps=config.eps),
        "layer": lambda: module.LayerNorm([c, h, w], eps=config.eps),
        "instance": lambda: module.InstanceNorm2d(c, eps=config.eps),
        "group": lambda: module.GroupNorm(config.groups, c, eps=config.eps),
    }
    layer: nn.Module = makers[name]()
    return layer


def section(config: Any, results: Results) -> Section:
    """The worked example in figures, and the differences."""
    worked, first = results["worked"], results["worked"]["first"]
    differences: dict[str, float] = worked["differences"]
    relatives = {name: results["relatives"][name] for name in LAYERS}
    off = max(max(r["torch"], r["ours"]) for r in relatives.values())
    running = max(v for name, v in differences.items() if "running" in name)
    outputs = max(v for name, v in differences.items() if "output" in name)
    findings = [
        Finding(
            "Normalizing by hand gives what nn.BatchNorm2d gives.",
            "002 3",
            f"Largest difference over {config.steps} batches: {outputs:.1e}.",
            verdict(outputs < TOLERANCE),
        ),
        Finding(
            "The batch is normalized by the biased variance, the running variance is moved by the "
            "unbiased one: (1 - momentum)·old + momentum·new, momentum 0.1.",
            "002 3 (whose program does not compare the running statistics)",
            f"Running mean and variance differ by at most {running:.1e} over {config.steps} "
            "batches; tracking the biased variance instead would be off by "
            f"{worked['biased_mistake']:.2g}.",
            verdict(running < TOLERANCE, worked["biased_mistake"] > 1e-3),
        ),
        Finding(
            "BN takes its statistics over N, H, W; LN over C, H, W; IN over H, W; GN over a "
            "group's channels, H, W.",
            "002 4 (which writes G×H×W for GN: it is C/G×H×W)",
            "By the formula over these axes, PyTorch and this toolkit differ by at most "
            f"{off:.1e}.",
            verdict(off < TOLERANCE),
        ),
    ]
    rows = [
        (f"{channel}", *(f"{first[name][channel]:.6f}" for name in _SHOWN))
        for channel in range(config.shape[1])
    ]
    header = ("channel", "mean", "biased variance", "unbiased", "running mean", "running variance")
    compared = [
        (what, *(f"{differences[f'{name}-{what}']:.1e}" for name in ("torch", "ours")))
        for what in _WHAT
    ]
    axes = [
        (name, LAYERS[name][1], str(row["values"]), f"{row['torch']:.1e}", f"{row['ours']:.1e}")
        for name, row in relatives.items()
    ]
    return Section(
        findings,
        [
            Table("The worked example, first batch, m = N·H·W = 8", header, rows),
            Table("Largest difference to the formula", ("", "PyTorch", "this toolkit"), compared),
            Table(
                f"Axes, for {'×'.join(map(str, config.larger))} and {config.groups} groups",
                ("layer", "statistics over", "values each", "PyTorch off by", "toolkit off by"),
                axes,
            ),
        ],
        [_plot(first, worked["features"])],
        [
            "The document calls σ² a standard deviation and writes it δ; both variances are over m "
            "values, the biased one divided by m, the unbiased one by m - 1."
        ],
    )


_SHOWN = ("mean", "biased", "unbiased", "running_mean", "running_var")


def _plot(first: Results, features: Any) -> Plot:
    figure, both = figures.panels(2, height=2.9)
    pairs = (("Before", features), ("After", first["output"]))
    for axes, (title, values) in zip(both, pairs, strict=True):
        array = np.asarray(values)  # [N, C, H, W]
        for picture in range(array.shape[0]):
            for channel in range(array.shape[1]):
                points = array[picture, channel].ravel()
                colour = figures.COLOURS[("blue", "orange")[channel % 2]]
                marker = ("o", "s")[picture % 2]
                words = f"channel {channel}, picture {picture}"
                at = [channel] * len(points)
                axes.plot(at, points, marker, color=colour, alpha=0.8, label=words)
        axes.set_xticks(range(array.shape[1]))
        axes.set_xlim(-0.5, array.shape[1] - 0.5)
        figures.label(axes, title, "channel", "value")
    figures.shared_legend(figure, both[0], loc="outside right center")
    words = "The eight values of each channel, before and after normalization over N, H and W."
    return Plot("worked", words, figure)


EXPERIMENT = Experiment(
    name="axes",
    title="By hand, against PyTorch (document 002)",
    setup=(
        "Document 002's example, two pictures of two channels of 2×2, computed per channel with "
        "NumPy in float64 from the formulas, for several batches in a row, and compared with "
        "PyTorch's layers and with this toolkit's; running statistics too, which the document "
        "leaves out."
    ),
    full=Config(),
    quick=Config(),
    run=run,
    section=section,
)
