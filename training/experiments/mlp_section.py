"""What the runs of `mlp` say of the paper's claims."""

from statistics import fmean
from typing import Any

from training.experiments import figures
from training.experiments.experiment import (
    Finding,
    Plot,
    Results,
    Section,
    Table,
    percent,
    verdict,
)
from training.experiments.networks import KINDS
from training.experiments.optimize import History

HEADLINE = 14  # times fewer steps, Ioffe & Szegedy 2015, abstract
TAIL = 5  # rows that a sweep is judged by
EARLY = 0.9  # an accuracy that every network passes on its way
ROLES = {
    "plain": "without BN",
    "same": "BN, the same rate",
    "tuned": "BN, its own rate",
}


def section(config: Any, results: Results) -> Section:
    """Accuracy over steps, the percentiles, and the ratio of steps."""
    runs: dict[str, dict[str, Results]] = results["runs"]
    rows, ratios = _ratios(runs)
    best = {role: [_best(run["history"])[1] for run in runs[role].values()] for role in ROLES}
    widths = {role: [_width_change(run["history"]) for run in runs[role].values()] for role in runs}
    tuned, same = ([ratio for ratio in ratios[role] if ratio] for role in ("tuned", "same"))
    above = [
        _always_above(run["history"], runs["plain"][seed]["history"])
        for seed, run in runs["tuned"].items()
    ]
    findings = [
        Finding(
            "BN is ahead all the way, and reaches a higher accuracy in the end.",
            "paper 4.1, Fig. 1(a)",
            f"Best accuracy {_span(best['plain'], percent)} without BN, "
            f"{_span(best['tuned'], percent)} with it; above the plain network's curve at "
            f"{_span(above, lambda share: percent(share, 1))} of the points.",
            verdict(min(best["tuned"]) > max(best["plain"]), min(above) > 0.9),
        ),
        Finding(
            "The same accuracy with 14 times fewer steps.",
            "paper, abstract and 4.2 (on ImageNet)",
            f"Steps to the plain network's best accuracy: {_span(tuned, _times)} fewer with BN at "
            f"its own rate, {_span(same, _times)} at the plain network's; the best of all runs is "
            f"{_times(max(tuned + same, default=0))}. To {percent(EARLY, 0)} at its own rate: "
            f"{_span(_early(runs), _times)}.",
            verdict(bool(tuned) and min(tuned) > 1, bool(tuned) and max(tuned) >= HEADLINE),
        ),
        Finding(
            "With BN the distribution of a sigmoid's input is more stable during training.",
            "paper 4.1, Fig. 1(b, c)",
            "The distance from the 15th to the 85th percentile changes by a factor of "
            f"{_span(widths['plain'], _times)} without BN and {_span(widths['same'], _times)} "
            "with it at the same rate.",
            verdict(max(widths["same"]) < min(widths["plain"])),
        ),
    ]
    header = (
        "seed",
        "network",
        "rate",
        "best accuracy",
        "at step",
        "steps to plain's best",
        "ratio",
    )
    return Section(
        findings,
        [
            Table("Steps to the best accuracy of the network without BN", header, rows),
            _sweeps(results),
        ],
        [_accuracy_plot(runs, results["rates"]), _percentile_plot(runs)],
        [
            "The band with BN is not flat: γ grows while the network learns, and the text speaks "
            "of the input of the sigmoid, γx̂ + β. What is fixed is x̂.",
            "The ratio depends on how well the plain network was tuned: its rate is the best of "
            "the same sweep, which makes this ratio smaller than one against a badly tuned "
            "network." + _edge(config, results["rates"]),
        ],
    )


def _ratios(
    runs: dict[str, dict[str, Results]],
) -> tuple[list[tuple[str, ...]], dict[str, list[float | None]]]:
    rows: list[tuple[str, ...]] = []
    ratios: dict[str, list[float | None]] = {role: [] for role in ROLES}
    for seed, plain in runs["plain"].items():
        plain_step, goal = _best(plain["history"])
        for role, words in ROLES.items():
            run = runs[role][seed]
            step, accuracy = _best(run["history"])
            reached = steps_to(run["history"], goal)
            ratio = plain_step / reached if reached else None
            ratios[role].append(ratio)
            shown = f"{reached:,}" if reached else "never"
            rows.append(
                (
                    seed,
                    words,
                    f"{run['rate']:g}",
                    percent(accuracy),
                    f"{step:,}",
                    shown,
                    _times(ratio) if ratio else "–",
                )
            )
    return rows, ratios


def steps_to(history: History, accuracy: float) -> int | None:
    """The first step at which a history has that test accuracy."""
    return next((int(row["step"]) for row in history if row["accuracy"] >= accuracy), None)


def score(history: History) -> float:
    """What a sweep is judged by: the mean accuracy of its last rows."""
    return fmean(row["accuracy"] for row in history[-TAIL:])


def _edge(config: Any, rates: dict[str, float]) -> str:
    if max(rates.values()) < max(config.rates) or len(config.rates) == 1:
        return ""
    return " The largest rate of the sweep was chosen: a larger one might have done better still."


def _early(runs: dict[str, dict[str, Results]]) -> list[float]:
    pairs = [
        (steps_to(plain["history"], EARLY), steps_to(runs["tuned"][seed]["history"], EARLY))
        for seed, plain in runs["plain"].items()
    ]
    return [slow / fast for slow, fast in pairs if slow and fast]


def _best(history: History) -> tuple[int, float]:
    """Step and value of the highest test accuracy, the first of equals."""
    row = max(history, key=lambda row: row["accuracy"])
    return int(row["step"]), row["accuracy"]


def _width_change(history: History) -> float:
    widths = [row["p85"] - row["p15"] for row in history]
    return max(widths) / min(widths)


def _always_above(upper: History, lower: History) -> float:
    pairs = list(zip(upper, lower, strict=True))
    return sum(above["accuracy"] > below["accuracy"] for above, below in pairs) / len(pairs)


def _times(value: float) -> str:
    return f"{value:.1f}×"


def _span(values: list[float], show: Any) -> str:
    if not values:
        return "never"
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def _sweeps(results: Results) -> Table:
    rows = [
        (KINDS[name.split("-")[1]], f"{run['rate']:g}", percent(score(run["history"])))
        for name, run in results["sweeps"].items()
    ]
    caption = f"The sweeps: mean test accuracy of the last {TAIL} points"
    return Table(caption, ("network", "rate", "accuracy"), rows)


def _drawn(history: History) -> History:
    """Every so many rows: about a hundred are as many as can be told apart."""
    return history[:: max(1, len(history) // 100)]


def _accuracy_plot(runs: dict[str, dict[str, Results]], rates: dict[str, float]) -> Plot:
    figure, (whole, start) = figures.panels(2)
    for role, colour in zip(ROLES, ("orange", "green", "blue"), strict=True):
        histories = [_drawn(run["history"]) for run in runs[role].values()]
        steps = [row["step"] for row in histories[0]]
        accuracies = [[100 * row["accuracy"] for row in history] for history in histories]
        words = f"{ROLES[role]} ({rates[role]:g})"
        for axes in (whole, start):
            style = {"color": figures.COLOURS[colour], "label": words, "linewidth": 1.2}
            figures.band(axes, steps, accuracies, **style)
    for axes in (whole, start):
        axes.locator_params(axis="x", nbins=4)
    figures.label(whole, "Whole run", "step", "test accuracy, %")
    figures.label(start, "Around the best without BN", "step", "")
    whole.set_ylim(70, 100)
    goals = [100 * _best(run["history"])[1] for run in runs["plain"].values()]
    start.set_ylim(min(goals) - 2, max(goals) + 1)
    figures.legend(whole, loc="lower right")
    words = "Test accuracy over steps; mean and range of the seeds. In brackets the learning rate."
    return Plot("accuracy", words, figure)


def _percentile_plot(runs: dict[str, dict[str, Results]]) -> Plot:
    figure, both = figures.panels(2)
    for axes, role, colour in zip(both, ("plain", "same"), ("orange", "blue"), strict=True):
        history = _drawn(next(iter(runs[role].values()))["history"])
        steps = [row["step"] for row in history]
        for name, width in (("p15", 1.0), ("p50", 2.0), ("p85", 1.0)):
            values = [row[name] for row in history]
            axes.plot(steps, values, color=figures.COLOURS[colour], linewidth=width)
        figures.label(axes, ROLES[role], "step", "input of the sigmoid")
        axes.locator_params(axis="x", nbins=4)
    limits = [axes.get_ylim() for axes in both]
    for axes in both:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    words = "15th, 50th and 85th percentile of the input of one sigmoid of the last hidden layer."
    return Plot("percentiles", words, figure)
