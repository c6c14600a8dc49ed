"""`foldserve export`: a network of PyTorch's as ONNX, every BatchNormalization kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.console import errors, print_json, say, working
from training.cli.options import Estimate, Json, StatisticsOption

if TYPE_CHECKING:
    from training.import_model import Request

Source = Annotated[
    str,
    typer.Argument(
        help="Folder of a run, a .pt2 exported program, package.module:factory, or the name of "
        "a network of ours, such as resnet-18."
    ),
]
Out = Annotated[Path, typer.Option(help="The ONNX file to write.")]
Weights = Annotated[
    Path | None, typer.Option(help="State dict: .pt or .pth (tensors only), or .safetensors.")
]
Key = Annotated[
    str | None, typer.Option(help="Which weights of the file, where several fit (EMA).")
]
Kwargs = Annotated[str | None, typer.Option(help="Arguments of the factory, a JSON object.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="[NAME:][TYPE:]SIZES, such as image:f32:1x3x224x224; repeat for several inputs. "
        "The first size is free, as is * (any size) and 64* (any; 64 is one).",
    ),
]
FixedBatch = Annotated[bool, typer.Option("--fixed-batch", help="The first size is not free.")]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained",
        help="ImageNet weights of mobilenet-v2 or efficientnet-lite0, with labels and "
        "preprocessing beside the file.",
    ),
]


def export(
    source: Source,
    out: Out,
    weights: Weights = None,
    weights_key: Key = None,
    kwargs: Kwargs = None,
    inputs: Inputs = None,
    fixed_batch: FixedBatch = False,
    pretrained: Pretrained = False,
    statistics: StatisticsOption = Estimate.population,
    as_json: Json = False,
) -> None:
    """Writes a network as ONNX, with every BatchNormalization kept under its module's path.

    ONNX Runtime's answer is compared with PyTorch's before anything is written.

    Example: `foldserve export nets:Net --weights net.pth --input 1x3x224x224 --out net.onnx`
    """
    from training.import_model import Request

    request = Request(
        source=source,
        arguments=kwargs,
        weights=weights,
        weights_key=weights_key,
        pretrained=pretrained,
        inputs=tuple(inputs or ()),
        fixed_batch=fixed_batch,
        statistics=statistics.value,
    )
    _export(request, out, as_json=as_json)


def _export(request: "Request", out: Path, *, as_json: bool) -> None:
    from training.import_model import import_model
    from training.networks import NETWORKS
    from training.onnx_files import write_onnx

    with working("exporting"):
        model = import_model(request)
        beside = _describe(request.source, out) if request.pretrained else {}
    size = write_onnx(model, out)
    layers = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    if as_json:
        told = {"file": str(out), "bytes": size, "normalization_layers": layers}
        print_json(told | {option: str(path) for option, path in beside.items()})
        return
    if request.source in NETWORKS and not (request.weights or request.pretrained):
        errors.print(f"{request.source} has initial weights: it is not trained", markup=False)
    say(f"{out}: {size:,} bytes, {len(layers)} normalization layers kept")
    if beside:
        options = " ".join(f"--{option} {path}" for option, path in beside.items())
        words = f"foldserve bundle {out} --name {request.source} {options} --softmax"
        say(f"go on with: {words}")


def _describe(name: str, out: Path) -> dict[str, Path]:
    """Writes labels and preprocessing beside `out`, for `foldserve bundle`; their paths."""
    from training.descriptions import write_labels, write_preprocessing
    from training.pretrained import imagenet_labels, pretrained

    labels, pictures = out.with_suffix(".labels.txt"), out.with_suffix(".toml")
    write_labels(imagenet_labels(), labels)
    write_preprocessing(pretrained(name).preprocessing, pictures)
    return {"labels": labels, "preprocessing": pictures}
