"""Judges what a tool made of a graph: layers left, nodes, error against float64, latency."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import onnx
import onnxruntime as ort
from folding_graphs import Array, Case
from onnx.reference import ReferenceEvaluator

from training.fold.draw import draw_inputs
from training.fold.equivalence import LIMITS, relative_error
from training.fold.float64 import evaluate, to_float64
from training.fold.latency import run_in_turns
from training.onnx_files import weights_size

LATENCY_BUDGET_S = 1.0
LARGE = 1e8  # bytes of weights
NO_FILE = "no file"
# Chance moves the error of a right fold by small factors where an answer is near zero; a wrong one
# is off by orders. The column has the figure itself.
WRONG_FACTOR = 10.0


@dataclass
class Result:
    """What a tool made of one graph; `mark` is empty where it is a network that answers rightly."""

    tool: str
    layers: int = 0
    nodes: int = 0
    error: float = float("inf")
    mark: str = ""
    model: onnx.ModelProto | None = None
    milliseconds: float | None = None


class Judge:
    """The reference answers of one graph."""

    def __init__(self, case: Case) -> None:
        self._feeds = draw_inputs(case.model, case.rows) | case.given
        self._row = {name: array[:1] for name, array in draw_inputs(case.model, 1).items()}
        self._row |= case.given
        self._names = [output.name for output in case.model.graph.output]
        everything = _reference(case.model, self._feeds)
        self._reference = {name: everything[name] for name in self._names}
        half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in case.model.graph.initializer)
        own = self._error(_run(case.model, self._feeds))
        self._limit = WRONG_FACTOR * max(LIMITS["float16" if half else "float32"], own)
        self._convolutions = _convolutions(case.model)

    def judge(self, tool: str, model: onnx.ModelProto | None, mark: str = NO_FILE) -> Result:
        """The result; `mark` is what a missing model is called."""
        if model is None:
            return Result(tool, mark=mark)
        left = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
        # ONNX Runtime writes a layer that it cannot fold as one more, depthwise convolution.
        left += max(0, _convolutions(model) - self._convolutions)
        result = Result(tool, left, len(model.graph.node), model=model)
        try:
            result.error = self._error(_run(model, self._feeds))
        except Exception:  # ONNX Runtime's exceptions share no base below Exception
            result.mark = "invalid"
            return result
        result.mark = "" if result.error <= self._limit else "WRONG"
        return result

    def time(self, results: list[Result]) -> None:
        """Fills in the latencies of what answers rightly, all measured in turns.

        Large networks would not fit into memory together: each is measured in turns with the first,
        and told in the first's time.
        """
        timed = [result for result in results if result.model is not None and not result.mark]
        if not timed:
            return
        large = weights_size(timed[0].model) > LARGE if timed[0].model is not None else False
        groups = [[timed[0], other] for other in timed[1:]] if large else [timed]
        for group in groups:
            models = [result.model for result in group if result.model is not None]
            try:
                times = run_in_turns(models, self._row, LATENCY_BUDGET_S)
            except Exception:  # as above: a network that only runs without optimizations
                continue
            first, *others = (1e3 * median(runs) for runs in times)
            known = group[0].milliseconds = group[0].milliseconds or first
            for result, milliseconds in zip(group[1:], others, strict=True):
                result.milliseconds = known * milliseconds / first

    def _error(self, answers: Mapping[str, Array]) -> float:
        if set(answers) != set(self._names):
            return float("inf")
        return max(relative_error(self._reference[name], answers[name]) for name in self._names)


def _convolutions(model: onnx.ModelProto) -> int:
    return sum(node.op_type in ("Conv", "FusedConv") for node in model.graph.node)


def _reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    try:
        return evaluate(model, feeds)
    except Exception:  # an operator or a mode that our evaluation does not know
        return _other_reference(model, feeds)


def _other_reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """ONNX's own evaluator, which has training mode; else ONNX Runtime, unfolded, in float32."""
    wide = to_float64(model)
    names = [output.name for output in wide.graph.output]
    doubles = {name: array.astype(np.float64) for name, array in feeds.items()}
    try:
        return dict(zip(names, ReferenceEvaluator(wide).run(None, doubles), strict=True))
    except Exception:
        return _run(model, feeds)


def _run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    data, providers = model.SerializeToString(), ["CPUExecutionProvider"]
    session = ort.InferenceSession(data, options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    answers: list[Array] = session.run(names, dict(feeds))
    return dict(zip(names, answers, strict=True))
