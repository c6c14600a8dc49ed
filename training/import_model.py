"""From what the user names to ONNX: a run, a network of ours, a factory, an exported program.

The order of the steps of `foldserve export`; what each step does is in `training.export`.
"""

from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from training.checkpoint import load_checkpoint
from training.errors import UnusableInput
from training.export import export_inputs
from training.export.inputs import Input, parse_inputs
from training.export.program import export_program, read_program
from training.export.sources import build_from, is_factory, parse_arguments
from training.export.weights import load_weights
from training.networks import NETWORKS, build
from training.pipeline import SIGNATURE, Statistics, export_run
from training.pretrained import fetch_weights


@dataclass(frozen=True, slots=True)
class Request:
    """A source and everything that may be said of it; None and () for what was not given."""

    source: str
    arguments: str | None = None
    weights: Path | None = None
    weights_key: str | None = None
    pretrained: bool = False
    inputs: tuple[str, ...] = ()
    fixed_batch: bool = False
    statistics: Statistics = "population"


def import_model(request: Request) -> onnx.ModelProto:
    """The network as ONNX, every normalization layer kept; UnusableInput says what is wrong."""
    path = Path(request.source)
    if path.suffix == ".pt2":
        _require_alone(request, "an exported program")
        return export_program(read_program(path))
    if request.source in NETWORKS and not path.is_file():
        return _export_ours(request)
    if is_factory(request.source) and not path.exists():
        return _export_factory(request)
    _require_alone(request, "a run")
    return export_run(load_checkpoint(path), request.statistics)


def _require_alone(request: Request, what: str) -> None:
    """Options that say what a run or a program says itself."""
    options = {
        "--kwargs": request.arguments,
        "--weights": request.weights,
        "--weights-key": request.weights_key,
        "--pretrained": request.pretrained,
        "--input": request.inputs,
        "--fixed-batch": request.fixed_batch,
    }
    given = [name for name, value in options.items() if value]
    if given:
        raise UnusableInput(
            f"{request.source}: {what} has its own weights and inputs; "
            f"expected no {', '.join(given)}"
        )


def _export_ours(request: Request) -> onnx.ModelProto:
    arguments = parse_arguments(request.arguments)
    if request.pretrained and request.weights is not None:
        raise UnusableInput("expected --weights or --pretrained, got both")
    network = build(request.source, **arguments)
    weights = fetch_weights(request.source) if request.pretrained else request.weights
    _load(network, weights, request)
    architecture = NETWORKS[request.source]
    channels = arguments.get("in_channels", architecture.row[0])
    if not isinstance(channels, int):
        raise UnusableInput(f"--kwargs: in_channels: expected a whole number, got {channels!r}")
    ours = Input((1, channels, *architecture.row[1:]), name=architecture.input)
    inputs = parse_inputs(request.inputs, fixed_batch=request.fixed_batch)
    return export_inputs(network, inputs or [ours], [SIGNATURE.output])


def _export_factory(request: Request) -> onnx.ModelProto:
    if request.pretrained:
        raise UnusableInput(f"--pretrained: expected a network of ours, got {request.source}")
    inputs = parse_inputs(request.inputs, fixed_batch=request.fixed_batch)
    if not inputs:
        raise UnusableInput(
            f"{request.source}: expected the shapes of its inputs, such as --input 1x3x224x224"
        )
    network = build_from(request.source, parse_arguments(request.arguments))
    _load(network, request.weights, request)
    return export_inputs(network, inputs)


def _load(network: nn.Module, weights: Path | None, request: Request) -> None:
    if weights is not None:
        load_weights(network, weights, request.weights_key)
    elif request.weights_key is not None:
        raise UnusableInput("--weights-key: expected --weights with it")
