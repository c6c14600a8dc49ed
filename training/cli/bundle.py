"""`foldserve bundle`: an ONNX file as a bundle, folded, proved and checked."""

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import output, print_json, say, working
from training.cli.options import Force, Json

Source = Annotated[Path, typer.Argument(help="The network, unfolded, as an ONNX file.")]
Name = Annotated[str, typer.Option(help="Name of the model.")]
Models = Annotated[Path, typer.Option(help="Folder of bundles.")]
Version = Annotated[int | None, typer.Option(min=1, help="Default: the next free one.")]
Labels = Annotated[Path | None, typer.Option(help="Text file with a class label a line.")]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--preprocessing",
        help="TOML file: width, height, colour (L or RGB), resize, shorter_side, mean, std.",
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        help="Images that training did not see, as .npz: arrays by input name, or 'images'; and "
        "'groups', a number an image, where some belong together. What drift is measured against; "
        "best 1,000 to 10,000."
    ),
]
Softmax = Annotated[
    bool, typer.Option("--softmax", help="The outputs are logits: answer probabilities.")
]


def bundle(
    source: Source,
    name: Name,
    models: Models = Path("models"),
    version: Version = None,
    labels: Labels = None,
    preprocessing: Pictures = None,
    baseline: Baseline = None,
    softmax: Softmax = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Folds an ONNX file, proves the fold, and writes a bundle that the service serves.

    Example: `foldserve bundle resnet18.onnx --name resnet18 --labels imagenet.txt --softmax
    --baseline held-out.npz`
    """
    from training.bundle import Description, write_bundle
    from training.cli.rows import read_reference
    from training.descriptions import read_labels, read_preprocessing
    from training.onnx_files import read_onnx

    description = Description(
        name=name,
        version=version,
        labels=None if labels is None else read_labels(labels),
        preprocessing=None if preprocessing is None else read_preprocessing(preprocessing),
        output_activation="softmax" if softmax else "none",
    )
    model = read_onnx(source)
    pictures = description.preprocessing
    reference = None if baseline is None else read_reference(model, baseline, pictures)
    with working("folding, proving and bundling"):
        written = write_bundle(model, description, models, None, reference, force=force)
    checks = {key: check.model_dump() for key, check in written.manifest.checks}
    if as_json:
        told = {"checks": checks, "forced": written.manifest.forced}
        print_json({"bundle": str(written.folder), **told})
        return
    output.print(written.fold.report.table())
    for key, check in checks.items():
        say(f"{key.replace('_', ' '):>16}: {check['detail']}")
    if (watched := written.manifest.baseline) is not None:
        say(f"{'baseline':>16}: {watched.kind}, from {watched.source}")
    for sentence in written.manifest.forced:
        say(f"forced in spite of {sentence}")
    say(f"bundle {written.folder}")
