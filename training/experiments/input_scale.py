"""`input-scale`: inputs k times as large, in training mode and with frozen statistics."""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

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
from training.experiments.networks import Mlp
from training.experiments.optimize import Plan, descend

WAYS = {
    "by-batch": "BN by the batch (training mode)",
    "frozen": "BN with frozen statistics",
    "plain": "without BN",
}
SAME = 0.01  # outputs this close, relative to their largest, count as the same


@dataclass(frozen=True, slots=True)
class Config:
    """`factors` are the k; 255 is the picture that was not divided by 255."""

    seed: int = 0
    factors: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.8, 1, 1.25, 2, 10, 255, 1e4)
    learning_rate: float = 0.5
    steps: int = 5_000
    batch: int = 60
    std: float = 0.1


def run(lab: Lab, config: Config) -> Results:
    """Both networks, trained on pictures from 0 to 1, tested on scaled ones."""

    def work(part: Part, kind: str) -> Results:
        network = Mlp(None if kind == "plain" else nn.BatchNorm1d, std=config.std)
        every = max(1, config.steps // 10)
        plan = Plan(config.steps, config.batch, config.learning_rate, every, config.seed)
        history = descend(part, network, lab.digits, plan)
        ways = ("plain",) if kind == "plain" else ("frozen", "by-batch")
        return {"history": history, **{way: _scaled(lab, config, network, way) for way in ways}}

    plain = lab.part("plain", lambda part: work(part, "plain"), seed=config.seed)
    batch = lab.part("batch", lambda part: work(part, "batch"), seed=config.seed)
    ways = {"plain": plain["plain"], "frozen": batch["frozen"], "by-batch": batch["by-batch"]}
    epsilon = lab.part("first-layer", lambda part: _first_layer(lab, config), seed=config.seed)
    return {"ways": ways, **epsilon}


def _scaled(lab: Lab, config: Config, network: Mlp, way: str) -> list[list[float]]:
    """Rows of k, test accuracy, and the largest change of an output relative to the largest."""
    data, training = lab.digits, way == "by-batch"
    reference = logits_of(network, data.test_images, training=training)
    rows = []
    for factor in config.factors:
        logits = logits_of(network, data.test_images * factor, training=training)
        change = float((logits - reference).abs().max() / reference.abs().max())
        rows.append([factor, accuracy(logits, data.test_labels), change])
    return rows


def _first_layer(lab: Lab, config: Config) -> Results:
    """The median variance over units of Wu in the untrained first layer, k = 1."""
    layer = Mlp(nn.BatchNorm1d, std=config.std).hidden[1]
    x = layer(lab.digits.images[:1000].flatten(1)).detach()
    return {"variance": float(x.var(0).median())}


def section(config: Any, results: Results) -> Section:
    """Where the outputs stay the same, and what becomes of accuracy."""
    ways = {way: {row[0]: row[1:] for row in rows} for way, rows in results["ways"].items()}
    by_batch, frozen = ways["by-batch"], ways["frozen"]
    same = [k for k in config.factors if by_batch[k][1] < SAME]
    changed = [k for k in config.factors if k not in same]
    eps_scale = math.sqrt(1e-5 / results["variance"])
    text = ", ".join(f"×{k:g}" for k in changed) or "none"
    off = [k for k in config.factors if k <= 0.1 or k >= 10]
    findings = [
        Finding(
            "Inputs k times as large give the same output: BN brings them back to their scale.",
            "000, the benefits of BN",
            f"By the batch, outputs change by less than {percent(SAME, 0)} for k from "
            f"{min(same):g} to {max(same):g}; they change more for {text}. With frozen statistics "
            f"accuracy is {percent(frozen[1][0], 1)} at k = 1, "
            + ", ".join(
                f"{percent(frozen[k][0], 1)} at {k:g}" for k in (0.1, 10, 255) if k in frozen
            )
            + ".",
            verdict(10 in same, max(frozen[k][0] for k in off) > frozen[1][0] - 0.01),
        ),
        Finding(
            "A network without BN does not have this invariance.",
            "000, by contrast",
            "Accuracy without BN: "
            + ", ".join(f"{percent(ways['plain'][k][0], 1)} at {k:g}" for k in (0.1, 1, 10))
            + ".",
            verdict(ways["plain"][0.1][0] < ways["plain"][1][0] - 0.05),
        ),
    ]
    rows = [
        (f"{k:g}", *(cell for way in WAYS for cell in _cells(ways[way][k]))) for k in config.factors
    ]
    header = ("k", *(cell for words in WAYS.values() for cell in (words, "output change")))
    notes = [
        "The claim is true of training mode alone. At inference the statistics are constants, and "
        "a scaled input passes through scaled: a served network needs its pictures as it was "
        "trained on them.",
        "Downwards the invariance ends in training mode too, where the variance k²σ² nears ε = "
        f"1e-5: with the first layer's median σ² of {results['variance']:.2g} at k = "
        f"{eps_scale:.1e}, where the normalized values have shrunk by √2.",
    ]
    table = Table("Test accuracy, and the largest relative change of an output", header, rows)
    return Section(findings, [table], [_plot(config, ways)], notes)


def _cells(row: list[float]) -> tuple[str, str]:
    return percent(row[0], 1), f"{row[1]:.1e}"


def _plot(config: Any, ways: dict[str, dict[float, list[float]]]) -> Plot:
    figure, (left, right) = figures.panels(2, height=3.6)
    for (way, words), colour in zip(WAYS.items(), ("blue", "green", "orange"), strict=True):
        style: Any = {"color": figures.COLOURS[colour], "marker": "o", "markersize": 4}
        accuracies = [100 * ways[way][k][0] for k in config.factors]
        left.plot(config.factors, accuracies, label=words, **style)
        changed = [k for k in config.factors if k != 1]
        right.plot(changed, [ways[way][k][1] for k in changed], **style)
    for axes in (left, right):
        axes.set_xscale("log")
    right.set_yscale("log")
    figures.label(left, "Accuracy", "k: inputs multiplied by", "test accuracy, %")
    figures.label(right, "Outputs", "k: inputs multiplied by", "largest relative change")
    left.set_ylim(0, 135)
    left.set_yticks(range(0, 101, 20))
    figures.legend(left, loc="upper left", fontsize=8.5)
    words = "Test accuracy and change of the outputs when the inputs are multiplied by k."
    return Plot("scaled", words, figure)


EXPERIMENT = Experiment(
    name="input-scale",
    title="Scaled inputs",
    setup=(
        "The network of mlp, trained on pictures from 0 to 1, tested on the 10,000 test pictures "
        "multiplied by k: normalizing by test batches of 1,000 as in training, and by the moving "
        "averages as when it is served."
    ),
    full=Config(),
    quick=Config(steps=600),
    run=run,
    section=section,
)
