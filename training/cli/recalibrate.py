"""`foldserve recalibrate`: a bundle's next version, with statistics of other images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.console import errors, output, print_json, say
from training.cli.options import Json

if TYPE_CHECKING:
    from service.manifest import Comparison, Manifest
    from training.recalibrate.estimate import Progress

BundleFolder = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder, MODELS/NAME/VERSION.")
]
DataFile = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Images of the new domain as .npz: arrays by input name, or 'images'; 'labels' if "
        "known. At least 64, better 1,000.",
    ),
]
Service = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="URL", help="A running service that records inputs, instead of --data."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(envvar="FOLDSERVE_ADMIN_KEY", help="The service's admin key, for --from."),
]
SourceData = Annotated[
    Path | None,
    typer.Option(help="Images of the domain that the bundle is for: what is lost there."),
]
Models = Annotated[
    Path | None, typer.Option(help="Folder of bundles; default: the one that BUNDLE is in.")
]
Version = Annotated[int | None, typer.Option(min=1, help="Default: the next free one.")]
Prior = Annotated[
    float,
    typer.Option(min=0, help="As how many images the bundle's own statistics count; 0 for none."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Do it in spite of the reasons not to; it is recorded.")
]


def recalibrate(
    bundle: BundleFolder,
    data: DataFile = None,
    service: Service = None,
    key: Key = None,
    source_data: SourceData = None,
    models: Models = None,
    version: Version = None,
    prior: Prior = 16.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Re-estimates a bundle's statistics on images of another domain, as its next version.

    Half of the images are estimated from; the others make the new baseline. Nothing is written, and
    the exit code is 1, where it would harm: too few images, another mix of classes, only the last
    layers moved, two domains mixed. The new version is not served by this: a running service takes
    it up when it is told to.

    Examples: `foldserve recalibrate models/digits/1 --data camera-2.npz`;
    `foldserve recalibrate models/digits/1 --from http://127.0.0.1:8000`
    """
    from training.errors import UnusableInput
    from training.recalibrate import Order
    from training.recalibrate import recalibrate as make_version
    from training.recalibrate.data import fetch_data, read_data
    from training.recalibrate.parent import open_manifest

    if (data is None) == (service is None):
        raise UnusableInput("expected either --data or --from")
    told = open_manifest(bundle)
    if data is not None:
        rows = read_data(data, told)
    else:
        assert service is not None
        rows = fetch_data(service, told, key)
    source = None if source_data is None else read_data(source_data, told)
    order = Order(rows, models, version, prior, source, force)
    with _counting() as progress:
        written = make_version(bundle, order, progress)
    if as_json:
        print_json({"bundle": str(written.folder)} | _as_json(written.manifest))
    else:
        _tell(written.manifest)
        say(f"bundle {written.folder}")


@contextmanager
def _counting() -> Iterator["Progress"]:
    """A bar with the passes over the images, where somebody is watching."""
    from rich.progress import Progress as Bar

    with Bar(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("re-estimating", total=None)
        yield lambda done, passes: bar.update(task, completed=done, total=passes)


def _as_json(manifest: "Manifest") -> dict[str, object]:
    assert manifest.recalibration is not None
    return {
        "parent_version": manifest.parent_version,
        "recalibration": manifest.recalibration.model_dump(mode="json"),
        "checks": {name: check.model_dump() for name, check in manifest.checks},
        "forced": manifest.forced,
    }


def _tell(manifest: "Manifest") -> None:
    from rich.markup import escape
    from rich.table import Table

    words = manifest.recalibration
    assert words is not None
    table = Table("layer", "mean moved by, σ", "variance by, ln σ²")
    for layer in words.layers:
        shifts = f"{layer.mean_shift:.3f}", f"{layer.variance_shift:.3f}"
        table.add_row(escape(layer.name), *shifts)
    output.print(table)
    say(f"{'statistics':>16}: {_statistics(manifest)}")
    say(f"{'parity':>16}: {manifest.checks.parity.detail}")
    say(f"{'new domain':>16}: {_compared(words.new_domain)}")
    if words.source_domain is not None:
        say(f"{'source domain':>16}: {_compared(words.source_domain)}")
    if manifest.baseline is not None:
        say(f"{'baseline':>16}: {manifest.baseline.kind}, from {manifest.baseline.source}")
    for sentence in words.not_checked:
        say(f"{'not checked':>16}: {sentence}")
    for sentence in (*words.forced, *manifest.forced):
        say(f"forced in spite of: {sentence}")


def _statistics(manifest: "Manifest") -> str:
    words = manifest.recalibration
    assert words is not None
    how = "" if words.method == "source" else ", on the folded network"
    return (
        f"{words.weight:.1%} of {words.images:,} images of {words.data}, the rest of version "
        f"{manifest.parent_version}{how}"
    )


def _compared(found: "Comparison") -> str:
    words = f"{found.images:,} images"
    if found.agreement is not None:
        words += f", {found.agreement:.2%} with the same class as before"
    if found.accuracy_before is not None and found.accuracy_after is not None:
        words += f", accuracy {found.accuracy_before:.2%} before, {found.accuracy_after:.2%} now"
    return words
