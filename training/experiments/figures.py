"""One look for all plots: SVG that follows the reader's light or dark scheme, also as a file.

Lines have colours that stand out on white and on black; text and axes are drawn in one ink, which
becomes `currentColor` in the file.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "plain": "#e8743b",
    "batch": "#2f7ed8",
    "blue": "#2f7ed8",
    "orange": "#e8743b",
    "green": "#2a9d5c",
    "purple": "#9b5de5",
    "red": "#d6455d",
    "grey": "#8a94a3",
    "gold": "#c99a06",
}
INK = "#24292f"
STYLE: Any = {  # matplotlib's type of this is a literal of every name
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(
        color=[
            COLOURS[name] for name in ["blue", "orange", "green", "purple", "red", "gold", "grey"]
        ]
    ),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 10.5,
    "grid.alpha": 0.35,
    "grid.color": COLOURS["grey"],
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # words stay words: smaller, and can be searched
    "svg.hashsalt": "foldserve",  # the same figure is the same file
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
SCHEMES = (
    f"<style>svg{{color:{INK};background:#fff}}@media "
    "(prefers-color-scheme:dark){svg{color:#e6edf3;background:#12161c}}</style>"
)


def panels(columns: int = 1, *, height: float = 3.6, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure 7.2 inches wide with its axes, row by row."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def legend(axes: Axes, **options: Any) -> None:
    """A legend in the ink of the figure."""
    with matplotlib.rc_context(STYLE):
        axes.legend(**options)


def shared_legend(figure: Figure, axes: Axes, **options: Any) -> None:
    """A legend of one panel's lines outside all panels, below them unless told."""
    with matplotlib.rc_context(STYLE):
        figure.legend(
            *axes.get_legend_handles_labels(), **{"loc": "outside lower center", **options}
        )


def svg(figure: Figure) -> bytes:
    """The figure as SVG."""
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue().decode().replace(INK, "currentColor")
    head, _, rest = text.partition("<defs>")
    return f"{head}{SCHEMES}<defs>{rest}".encode()


def band(axes: Axes, x: Sequence[float], runs: Iterable[Sequence[float]], **style: Any) -> None:
    """The mean of several runs as a line, with their range behind it."""
    columns = list(zip(*runs, strict=True))
    means = [sum(column) / len(column) for column in columns]
    (line,) = axes.plot(x, means, **style)
    lowest, highest = [min(column) for column in columns], [max(column) for column in columns]
    axes.fill_between(x, lowest, highest, color=line.get_color(), alpha=0.18, linewidth=0)
