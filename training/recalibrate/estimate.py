"""Re-estimates the statistics of every normalization layer on inputs of another domain.

Layer by layer in network order: a layer's input is seen with every layer before it corrected, so
the result is what batch statistics over all inputs at once would be. Statistics that were recorded
from the network as it is must never be written back: those of the deeper layers come from inputs
that the new network no longer makes.

With n images, source statistics (μₛ, σₛ²) and those of the new inputs (μₜ, σₜ²):

    μ = N₀/(N₀ + n)·μₛ + n/(N₀ + n)·μₜ        σ² = N₀/(N₀ + n)·σₛ² + n/(N₀ + n)·σₜ²

Schneider et al. 2020, "Improving robustness against common corruptions by covariate shift
adaptation" (NeurIPS), section 3: the source counts as N₀ images of a prior. Without it (N₀ = 0)
this is adaptive batch normalization (Li et al. 2016, arXiv:1603.04779).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from training.errors import UnusableInput
from training.fold.affine import Float64
from training.graph import Array
from training.onnx_files import session
from training.recalibrate.moments import Moments
from training.recalibrate.network import Layer, Network, distance
from training.recalibrate.stages import Stages

PRIOR = 16.0  # N₀, in images
CHUNK = 32  # rows of one run
CACHE_BYTES = 2**30  # of activations kept between passes

Feeds = dict[str, Array]
Run = Callable[[Mapping[str, Array]], Feeds]
Open = Callable[[onnx.ModelProto], Run]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Change:
    """How far a layer's statistics have moved: `mean_shift` is the rms over channels of Δμ/σ,
    `variance_shift` that of Δ ln σ²; `values` is what each channel was estimated from."""

    name: str
    mean_shift: float
    variance_shift: float
    values: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """The network with the new statistics, in `images` inputs, and each layer's change in network
    order; `weight` is what the new inputs count for beside the source, n/(N₀ + n)."""

    model: onnx.ModelProto
    images: int
    weight: float
    changes: tuple[Change, ...]


def in_onnx_runtime(model: onnx.ModelProto) -> Run:
    """Runs a segment in ONNX Runtime; UnusableInput where it cannot."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        opened = session(model, options)
    except Exception as error:  # ONNX Runtime's exceptions share no base below Exception
        raise UnusableInput(f"ONNX Runtime cannot run the network: {error}") from None
    names = [value.name for value in opened.get_outputs()]
    taken = {value.name for value in opened.get_inputs()}

    def run(feeds: Mapping[str, Array]) -> Feeds:
        given = {name: array for name, array in feeds.items() if name in taken}
        return dict(zip(names, opened.run(names, given), strict=True))

    return run


def estimate(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    prior: float = PRIOR,
    *,
    progress: Progress = lambda done, passes: None,
    open_network: Open = in_onnx_runtime,
    cache_bytes: int = CACHE_BYTES,
) -> Estimate:
    """The network with statistics re-estimated on `inputs`, rows by input name; `prior` is N₀.

    `model` is not modified. There is one pass for all layers of a stage (`stages`), which goes on
    from the activations of the one before it, as far as `cache_bytes` hold them. UnusableInput
    where a layer is not finite on the inputs, or the network cannot be re-calibrated.
    """
    network = Network(model)
    stages = Stages(network)
    feeds = _chunks(network.model, inputs)
    images = sum(len(next(iter(chunk.values()))) for chunk in feeds)
    changes: dict[str, Change] = {}
    for stage in range(stages.count):
        for layer, moments in _observe(stages, stage, feeds, open_network, cache_bytes).items():
            changes[layer.name] = _correct(network, layer, moments, images, prior)
        progress(stage + 1, stages.count)
    network.remove_unused()
    ordered = tuple(changes[layer.name] for layer in network.layers)
    return Estimate(network.model, images, images / (prior + images), ordered)


def _chunks(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Feeds]:
    """The rows in pieces: of CHUNK rows, or of the size that the network wants."""
    stored = {tensor.name for tensor in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in stored)
    wanted = first.type.tensor_type.shape.dim[0].dim_value
    size, count = wanted or CHUNK, min(len(array) for array in inputs.values())
    if wanted:
        count -= count % wanted
    return [
        {name: array[start : min(start + size, count)] for name, array in inputs.items()}
        for start in range(0, count, size)
    ]


def _observe(
    stages: Stages, stage: int, feeds: list[Feeds], open_network: Open, cache_bytes: int
) -> dict[Layer, Moments]:
    """One pass over all chunks: the moments of what goes into the layers of a stage. `feeds` become
    the values from which the next pass goes on, where these are not too large to keep."""
    layers = stages.layers(stage)
    seen = {layer: Moments() for layer in layers}
    frontier = stages.frontier(stage)
    watched = dict.fromkeys([*(layer.data for layer in layers), *frontier])
    run = _open(stages, feeds[0], list(watched), open_network)
    kept = True
    for index, chunk in enumerate(feeds):
        values = chunk | run(chunk)
        for layer, moments in seen.items():
            moments.add(values[layer.data])
        if index == 0:
            kept = len(feeds) * sum(values[name].nbytes for name in frontier) <= cache_bytes
            if not kept:  # the frontier need not be computed for the other chunks
                run = _open(stages, feeds[0], [layer.data for layer in layers], open_network)
        if kept:
            feeds[index] = {name: values[name] for name in frontier}
    return seen


def _open(stages: Stages, feeds: Feeds, outputs: list[str], open_network: Open) -> Run:
    """What computes `outputs` from `feeds`; nothing where they are all there."""
    if all(name in feeds for name in outputs):
        return lambda _: {}
    return open_network(stages.segment(feeds, outputs))


def _correct(network: Network, layer: Layer, moments: Moments, images: int, prior: float) -> Change:
    if moments.count < 2:
        raise UnusableInput(
            f"layer '{layer.name}': expected two or more values per channel to estimate from, "
            f"got {moments.count}"
        )
    found = np.asarray(moments.mean), moments.variance
    if not (np.isfinite(found[0]).all() and np.isfinite(found[1]).all()):
        raise UnusableInput(f"layer '{layer.name}' is not finite on the images given")
    old = layer.read.mean.astype(np.float64), layer.read.var.astype(np.float64)
    mean, var = (_shrink(s, t, images, prior) for s, t in zip(old, found, strict=True))
    network.set_statistics(layer, mean, var)
    return Change(layer.name, *distance(old, (mean, var)), moments.count)


def _shrink(source: Float64, target: Float64, images: int, prior: float) -> Float64:
    result: Float64 = (prior * source + images * target) / (prior + images)
    return result
