"""The report: one HTML file that needs nothing else, and the same in Markdown beside the plots."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.experiments.experiment import Experiment, Section, Table, settings_table
from training.experiments.figures import svg
from training.files import write_bytes

HTML, MARKDOWN = "report.html", "report.md"
MARKS = {"holds": "yes", "holds in part": "part", "does not hold": "no"}


@dataclass(frozen=True, slots=True)
class Done:
    """A finished experiment: its settings, the section made from its results, the time it took."""

    experiment: Experiment
    quick: bool
    config: object
    section: Section
    seconds: float

    @property
    def settings(self) -> Table:
        """The settings as a table."""
        return settings_table(asdict(self.config))  # type: ignore[call-overload]

    @property
    def time(self) -> str:
        """The computing time in words."""
        return f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"


def write_report(done: Sequence[Done], out: Path, command: str) -> Path:
    """Writes OUT/report.html, OUT/report.md and OUT/NAME/PLOT.svg; returns the first."""
    images = {}
    for one in done:
        for plot in one.section.plots:
            name = f"{one.experiment.name}/{plot.name}.svg"
            images[name] = svg(plot.figure)
            write_bytes(out / name, images[name])
    data = {
        name: f"data:image/svg+xml;base64,{b64encode(i).decode()}" for name, i in images.items()
    }
    for template, file in (("report.html.jinja", HTML), ("report.md.jinja", MARKDOWN)):
        environment = Environment(
            loader=PackageLoader("training.experiments"),
            autoescape="html" in template,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["cell"] = _cell
        page = environment.get_template(template)
        text = page.render(done=done, images=data, command=command, marks=MARKS)
        write_bytes(out / file, text.encode())
    return out / HTML


def _cell(text: str) -> str:
    """As a cell of a Markdown table, where a bar would end it."""
    return text.replace("|", "\\|")
