"""What the experiments that sweep a number have in common: how they show its runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from training.experiments import figures
from training.experiments.experiment import Plot, percent

Finals = Callable[[str, str, float], list[float]]


def shown(finals: Iterable[float]) -> str:
    """The last accuracies of runs, each once; 0 stands for a run that diverged."""
    words = (percent(value, 1) if value else "diverged" for value in finals)
    return ", ".join(dict.fromkeys(words))


def accuracy_plot(
    swept: tuple[str, Mapping[float, float]],
    activations: Sequence[str],
    kinds: Mapping[str, str],
    finals: Finals,
    steps: int,
) -> Plot:
    """The last accuracy over a number, a panel for each activation, a band for each kind.

    `swept` names the number, and gives where each value stands on the axis; `finals` gives the last
    accuracies of activation, kind and value, a seed each.
    """
    name, places = swept
    figure, panels = figures.panels(len(activations), height=3.3)
    for axes, activation in zip(panels, activations, strict=True):
        for kind, words in kinds.items():
            columns = [finals(activation, kind, value) for value in places]
            runs = [[100 * value for value in run] for run in zip(*columns, strict=True)]
            style = {"color": figures.COLOURS[kind], "label": words, "marker": "o"}
            figures.band(axes, list(places.values()), runs, **style)
        axes.set_xscale("log")
        axes.set_ylim(-3, 101)
        figures.label(axes, activation, name, "test accuracy, %")
    figures.shared_legend(figure, panels[0], ncols=2)
    words = f"Test accuracy after {steps:,} steps; mean and range of the seeds; 0 is diverged."
    return Plot("accuracy", words, figure)
