"""How long ONNX Runtime takes for a network before and after a fold, its own optimizations on.

The two run in turns, so that whatever else the machine does falls on both; the median of the runs
is taken. One row of inputs, one thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import onnx
import onnxruntime as ort

from training.fold.draw import draw_inputs
from training.graph import Array
from training.onnx_files import session

WARM_UPS = 3
MIN_RUNS, MAX_RUNS = 5, 200


@dataclass(frozen=True)
class Latency:
    """Medians in milliseconds, and how many runs of each they are of."""

    before_ms: float
    after_ms: float
    runs: int

    def summary(self) -> str:
        """One line."""
        faster = self.before_ms / self.after_ms
        return (
            f"ONNX Runtime, its optimizations on: {self.before_ms:.3g} → {self.after_ms:.3g} ms "
            f"({faster:.2f}×; medians of {self.runs} runs in turns, one row, one thread)"
        )


def compare_latency(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    inputs: Mapping[str, Array] | None = None,
    budget_s: float = 2.0,
) -> Latency:
    """Runs both on `inputs`, or on one seeded row, in turns until the budget is spent.

    Raises whatever ONNX Runtime raises for a network that it cannot run, and ValueError where no
    inputs can be drawn.
    """
    feeds = dict(inputs) if inputs is not None else draw_inputs(before, rows=1)
    times = run_in_turns([before, after], feeds, budget_s)
    before_ms, after_ms = (1e3 * median(runs) for runs in times)
    return Latency(before_ms, after_ms, runs=len(times[0]))


def run_in_turns(
    models: Sequence[onnx.ModelProto], feeds: Mapping[str, Array], budget_s: float
) -> list[list[float]]:
    """Seconds of each run, for each network: at least 5, at most 200, within the budget between."""
    sessions = [_optimized(model) for model in models]
    for opened in sessions * WARM_UPS:
        opened.run(None, dict(feeds))
    times: list[list[float]] = [[] for _ in sessions]
    end = perf_counter() + budget_s
    while len(times[0]) < MIN_RUNS or (len(times[0]) < MAX_RUNS and perf_counter() < end):
        for opened, runs in zip(sessions, times, strict=True):
            started = perf_counter()
            opened.run(None, dict(feeds))
            runs.append(perf_counter() - started)
    return times


def _optimized(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return session(model, options)
