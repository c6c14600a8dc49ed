"""`foldserve export`: a trained run as ONNX, every BatchNormalization kept."""

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import print_json, say, working
from training.cli.options import Estimate, Json, StatisticsOption

Source = Annotated[Path, typer.Argument(help="Folder of a run, or its checkpoint.pt.")]
Out = Annotated[Path, typer.Option(help="The ONNX file to write.")]


def export(
    source: Source,
    out: Out,
    statistics: StatisticsOption = Estimate.population,
    as_json: Json = False,
) -> None:
    """Writes a run's network as ONNX, with every BatchNormalization kept and named.

    ONNX Runtime's answer is compared with PyTorch's before anything is written.

    Example: `foldserve export runs/mnist-cnn --out mnist-cnn.onnx`
    """
    from training.checkpoint import load_checkpoint
    from training.files import write_bytes
    from training.pipeline import export_run

    checkpoint = load_checkpoint(source)
    with working("exporting"):
        model = export_run(checkpoint, statistics.value)
    data = model.SerializeToString()
    write_bytes(out, data)
    layers = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    if as_json:
        print_json({"file": str(out), "bytes": len(data), "normalization_layers": layers})
    else:
        say(f"{out}: {len(data):,} bytes, {len(layers)} normalization layers kept")
