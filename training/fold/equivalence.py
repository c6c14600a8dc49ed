"""The proof of a fold: the folded network in ONNX Runtime against the unfolded one in float64.

The error of an output is taken per channel, as max |difference| / max |reference| over the
channel, so that a quiet channel cannot hide behind a loud one. The unfolded network's own error,
taken the same way, stands beside it: a fold need not be better than the network was.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from training.fold.draw import draw_inputs
from training.fold.engine import find_layers
from training.fold.float64 import evaluate
from training.fold.sections import Sections, cut
from training.graph import Array
from training.onnx_files import session

# The error that any network may have: about 20 unit roundoffs of its coarsest type for the sums of
# a deep network, and for float32 the 1e-5 that users compare answers with (170 roundoffs).
LIMITS: dict[str, float] = {
    "bfloat16": 8e-2,
    "float16": 1e-2,
    "float32": 1e-5,
    "float64": 1e-12,
}
# A network may be worse than that by itself; then the fold may be as bad, up to chance: each error
# is the largest of a few roundings, and over four rows a channel may be quiet. Right folds came to
# 2.4 times the network's own error; wrong ones err by what a layer does.
OWN_ERROR_FACTOR = 4.0
# A channel that is quieter than this share of the loudest one is measured against the share.
QUIET_CHANNEL = 1e-3


class CannotProve(Exception):
    """The networks cannot be compared: one of them cannot be evaluated, or no inputs are known."""


@dataclass(frozen=True)
class Equivalence:
    """Largest relative errors over all outputs and channels, against float64.

    `error` is the folded network's with ONNX Runtime's optimizations off, `error_optimized` with
    them on; `unfolded_error` the original's with them off. `first_departure` names the layer where
    a failed fold first leaves the limit. `evaluator` says what ran the networks: ONNX Runtime, or
    our float64 evaluation where it has no kernel for a type (bfloat16; float64 convolutions).
    `custom` names the operators that were not evaluated: the sections between them were compared.
    """

    passed: bool
    error: float
    error_optimized: float
    unfolded_error: float
    limit: float
    worst_output: str
    rows: int
    evaluator: str
    first_departure: str | None = None
    custom: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line."""
        error = max(self.error, self.error_optimized)
        words = (
            f"{'equal' if self.passed else 'NOT EQUAL'} to float64: error {error:.2g} "
            f"(unfolded {self.unfolded_error:.2g}, limit {self.limit:.2g})"
        )
        if self.custom:
            words += f"; section by section between {', '.join(self.custom)}"
        return words if self.first_departure is None else f"{words}; from {self.first_departure} on"


def prove(
    original: onnx.ModelProto,
    folded: onnx.ModelProto,
    inputs: Mapping[str, Array] | None = None,
    rows: int = 4,
) -> Equivalence:
    """Compares the two networks on `inputs`, or on `rows` seeded rows of the declared shapes.

    What a custom operator computes is drawn too, and what goes into it is compared. Raises
    CannotProve where a network cannot be evaluated.
    """
    sections = _cut(original, folded)
    original, folded = sections.original, sections.folded
    feeds = _draw(original, rows) if inputs is None or sections.custom else {}
    feeds |= inputs or {}
    reference = _reference(original, feeds)
    names = [output.name for output in original.graph.output if output.name in reference]
    if not names:
        raise CannotProve("the network has no tensor among its outputs")
    runs, evaluator = _run_all(original, folded, feeds)
    unfolded, plain, optimized = (_errors(reference, run, names) for run in runs)
    own, worst = max(unfolded.values()), max(names, key=lambda n: max(plain[n], optimized[n]))
    if not np.isfinite(own):
        raise CannotProve("the unfolded network itself overflows on these inputs; give others")
    limit = max(LIMITS[_coarsest(original)], OWN_ERROR_FACTOR * own)
    passed = max(plain[worst], optimized[worst]) <= limit
    return Equivalence(
        passed,
        error=max(plain.values()),
        error_optimized=max(optimized.values()),
        unfolded_error=own,
        limit=limit,
        worst_output=worst,
        rows=max((array.shape[0] for array in feeds.values() if array.ndim), default=1),
        evaluator=evaluator,
        first_departure=None
        if passed
        else _first_departure(original, folded, feeds, (reference, limit)),
        custom=sections.custom,
    )


def relative_error(reference: Array, result: Array) -> float:
    """The largest per-channel error; the channels are axis 1, or one where the rank is below 2.

    Infinite where the shapes differ, or one is finite and the other not.
    """
    if reference.shape != result.shape:
        return float("inf")
    wide, got = reference.astype(np.float64), result.astype(np.float64)
    same = (wide == got) | (np.isnan(wide) & np.isnan(got))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        difference = _per_channel(np.where(same, 0.0, np.abs(wide - got)))
    loudness = _per_channel(np.where(np.isfinite(wide), np.abs(wide), 0.0))
    floor = np.maximum(loudness, QUIET_CHANNEL * loudness.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(difference == 0, 0.0, difference / floor)
    return float(np.nan_to_num(errors, nan=np.inf, posinf=np.inf).max())


def _per_channel(array: Array) -> Array:
    """The maximum over each channel."""
    channels_first = array[np.newaxis] if array.ndim < 2 else np.moveaxis(array, 1, 0)
    largest: Array = channels_first.reshape(channels_first.shape[0], -1).max(axis=1)
    return largest


def _cut(original: onnx.ModelProto, folded: onnx.ModelProto) -> Sections:
    try:
        return cut(original, folded)
    except ValueError as error:
        raise CannotProve(str(error)) from error


def _draw(model: onnx.ModelProto, rows: int) -> dict[str, Array]:
    try:
        return draw_inputs(model, rows)
    except ValueError as error:
        raise CannotProve(str(error)) from error


def _reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    try:
        with np.errstate(all="ignore"):
            return evaluate(model, feeds)
    except Exception as error:  # the evaluator raises whatever its operators raise
        raise CannotProve(f"the network cannot be evaluated in float64: {error}") from error


Run = dict[str, Array]


def _run_all(
    original: onnx.ModelProto, folded: onnx.ModelProto, feeds: Mapping[str, Array]
) -> tuple[tuple[Run, Run, Run], str]:
    """The original plain, the folded plain and optimized, and what ran them."""
    try:
        unfolded = _run(original, feeds, optimized=False)
    except NoKernel:
        ours = _reference(folded, feeds)
        return (_reference(original, feeds), ours, ours), "float64 evaluation"
    plain, optimized = (_run(folded, feeds, optimized) for optimized in (False, True))
    return (unfolded, plain, optimized), f"ONNX Runtime {ort.__version__}"


def _run(model: onnx.ModelProto, feeds: Mapping[str, Array], optimized: bool) -> Run:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors come as exceptions; warnings are about optimizations
    try:
        opened = session(model, options)
        names = [output.name for output in opened.get_outputs()]
        return dict(zip(names, opened.run(names, dict(feeds)), strict=True))
    except NoKernel:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base below Exception
        raise CannotProve(f"ONNX Runtime cannot run the network: {error}") from error


def _errors(reference: Run, run: Run, names: list[str]) -> dict[str, float]:
    return {name: relative_error(reference[name], run[name]) for name in names}


def _coarsest(model: onnx.ModelProto) -> str:
    """The coarsest floating-point type of the network's constants, inputs and outputs."""
    values = (*model.graph.input, *model.graph.output)
    numbers = {tensor.data_type for tensor in model.graph.initializer}
    numbers.update(value.type.tensor_type.elem_type for value in values)
    found = {
        np.dtype(ir.DataType(n).numpy()).name for n in numbers if ir.DataType(n).is_floating_point()
    }
    return next((name for name in LIMITS if name in found), "float32")


def _first_departure(
    original: onnx.ModelProto,
    folded: onnx.ModelProto,
    feeds: Mapping[str, Array],
    expected: tuple[Run, float],
) -> str | None:
    """The first layer whose output, where both networks still compute it, is beyond the limit."""
    reference, limit = expected
    computed = {name for node in folded.graph.node for name in node.output}
    tensors = {
        layer.node.outputs[0].name: layer.name for layer in find_layers(ir.from_proto(original))
    }
    shared = [name for name in tensors if name and name in computed and name in reference]
    opened = onnx.ModelProto()
    opened.CopyFrom(folded)
    declared = {output.name for output in folded.graph.output}
    opened.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in shared if name not in declared
    )
    run = _run(opened, feeds, optimized=False)
    return next((tensors[n] for n in shared if relative_error(reference[n], run[n]) > limit), None)
