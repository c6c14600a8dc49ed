"""What the measurements of `landscape` say of the claims on why BN works."""

from statistics import fmean
from typing import Any

from training.experiments import figures
from training.experiments.experiment import Finding, Plot, Results, Section, Table, verdict
from training.experiments.networks import KINDS


def section(config: Any, results: Results) -> Section:
    """Bands, covariate shift, and profiles by depth."""
    histories = {kind: results["bands"][kind]["history"] for kind in KINDS}
    mean = {
        kind: {name: fmean(row[name] for row in history) for name in _MEASURES}
        for kind, history in histories.items()
    }
    plain, batch = mean["plain"], mean["batch"]
    depth = results["depth"]
    growth = {
        kind: {what: max(depth[kind][what]) / min(depth[kind][what]) for what in _PROFILES}
        for kind in KINDS
    }
    ratios = {kind: dict(depth[kind]["loss_after_step"]) for kind in KINDS}
    largest = max(config.rates)
    findings = [
        Finding(
            "BN makes the loss smoother: along the gradient it varies less, and the gradient "
            "changes less.",
            "Santurkar et al. 2018",
            f"Means over training: range of the loss {plain['band']:.3g} without BN, "
            f"{batch['band']:.3g} with it; relative to the loss {plain['band_relative']:.3g} and "
            f"{batch['band_relative']:.3g}; largest change of the gradient relative to it "
            f"{plain['gradient_high']:.3g} and {batch['gradient_high']:.3g}.",
            verdict(batch["band"] < plain["band"], batch["gradient_high"] < plain["gradient_high"]),
        ),
        Finding(
            "BN reduces internal covariate shift.",
            "paper; 000, 002, 003, 004",
            "Change of a layer's gradient when the layers below take their step, relative: "
            f"{plain['shift']:.3g} without BN, {batch['shift']:.3g} with it; cosine "
            f"{plain['shift_cosine']:.3f} and {batch['shift_cosine']:.3f}.",
            verdict(batch["shift"] < plain["shift"], batch["shift_cosine"] > plain["shift_cosine"]),
        ),
        Finding(
            "Without BN activations grow with depth, at initialization already.",
            "Bjorck et al. 2018",
            f"Over {config.blocks} residual blocks activations grow by a factor of "
            f"{growth['plain']['activations']:.3g} without BN, "
            f"{growth['batch']['activations']:.3g} with it; gradients differ by factors of "
            f"{growth['plain']['gradients']:.3g} and {growth['batch']['gradients']:.3g}.",
            verdict(growth["plain"]["activations"] > 10 * growth["batch"]["activations"]),
        ),
        Finding(
            "A large first step makes the loss of a deep network without BN explode.",
            "Bjorck et al. 2018",
            f"Loss after one step at rate {largest:g}, relative to before: "
            f"{_ratio(ratios['plain'][largest])} without BN, {_ratio(ratios['batch'][largest])} "
            "with it.",
            verdict(_value(ratios["plain"][largest]) > 10 * _value(ratios["batch"][largest])),
        ),
    ]
    measured = [
        (words, *(f"{mean[kind][name]:.3g}" for kind in KINDS)) for name, words in _MEASURES.items()
    ]
    steps = [
        (f"{rate:g}", *(_ratio(ratios[kind][rate]) for kind in KINDS)) for rate in config.rates
    ]
    return Section(
        findings,
        [
            Table("Means over training", ("", *KINDS.values()), measured),
            Table("Loss after one step, relative to before", ("rate", *KINDS.values()), steps),
        ],
        [_band_plot(histories), _depth_plot(depth)],
        [
            "The covariate shift is Santurkar's measure; the paper itself gives none. It is "
            "relative to the gradient's length, since BN changes that too. Santurkar et al. find "
            "it as large or larger with BN in their networks; that it is smaller in this one does "
            "not say that BN works by it."
        ],
    )


_MEASURES = {
    "band": "range of the loss",
    "band_relative": "range, relative to the loss",
    "gradient_high": "largest relative change of the gradient",
    "shift": "covariate shift, relative",
    "shift_cosine": "cosine of the two gradients",
}
_PROFILES = ("activations", "gradients")


def _value(ratio: float | None) -> float:
    return float("inf") if ratio is None else ratio


def _ratio(ratio: float | None) -> str:
    return "not finite" if ratio is None else f"{ratio:.3g}"


def _band_plot(histories: dict[str, list[dict[str, float]]]) -> Plot:
    figure, (loss, gradient, shift) = figures.panels(3, height=3.4)
    for kind, words in KINDS.items():
        history, colour = histories[kind], figures.COLOURS[kind]
        steps = [row["step"] for row in history]
        for axes, low, high in (
            (loss, "band_low", "band_high"),
            (gradient, "gradient_low", "gradient_high"),
        ):
            lowest, highest = ([row[name] for row in history] for name in (low, high))
            axes.fill_between(steps, lowest, highest, color=colour, alpha=0.45, label=words)
        shift.plot(steps, [row["shift"] for row in history], color=colour, linewidth=1.2)
    for axes in (loss, gradient, shift):
        axes.set_yscale("log")
    figures.label(loss, "Loss along the gradient", "step", "cross-entropy")
    figures.label(gradient, "Change of the gradient", "step", "relative to the gradient")
    figures.label(shift, "Covariate shift", "step", "relative to the gradient")
    figures.shared_legend(figure, loss, ncols=2)
    words = "Bands of loss and gradient at 0.5 to 4 rates along the gradient, and covariate shift."
    return Plot("bands", words, figure)


def _depth_plot(depth: dict[str, Results]) -> Plot:
    figure, both = figures.panels(2, height=3.2)
    for axes, what in zip(both, _PROFILES, strict=True):
        for kind, words in KINDS.items():
            values = depth[kind][what]
            axes.plot(range(len(values)), values, ".-", color=figures.COLOURS[kind], label=words)
        axes.set_yscale("log")
        figures.label(axes, what.capitalize(), "block", "root mean square")
    figures.legend(both[0], loc="upper left")
    return Plot("depth", "Activations and their gradients by depth, before training.", figure)
