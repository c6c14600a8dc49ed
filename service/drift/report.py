"""What is said of the drift of a version: the verdict with the figures that it rests on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.drift.baseline import Baseline, LayerBaseline
from service.drift.causes import Input, Pictures, likely_cause
from service.drift.changes import WORDS, ChangeScore
from service.drift.monitor import Stretch
from service.drift.scores import LayerScore
from service.drift.verdict import LEAST_ROWS, Verdict, judge
from service.drift.window import Window

_TOP = 5  # channels that are listed of a layer
_LEAST_STD = 1e-12

Plain = dict[str, Any]


def describe(
    stretch: Stretch,
    baseline: Baseline,
    level: float,
    reference: tuple[Input | None, Pictures | None] = (None, None),
) -> Plain:
    """The verdict on a stretch of traffic, and every layer's scores, as JSON's own types.

    Significances are in units of the layer's threshold, which is 1: beyond it, chance explains them
    with the probability `level` in all layers together. Shifts are the noise-corrected effects d
    and r.
    """
    window = stretch.layers
    verdict = judge(window, baseline, level)
    return {
        "verdict": verdict.word,
        "diagnosis": verdict.diagnosis,
        "likely_cause": _cause(stretch.input, verdict, reference),
        "n": window.rows,
        "n_needed": LEAST_ROWS,
        "nonfinite": window.nonfinite,
        "outliers": _outliers(window, baseline, verdict),
        "classes": _classes(window, baseline),
        "changes": [_change(change) for change in verdict.changes],
        "baseline": {"kind": baseline.kind, "images": baseline.images},
        "layers": [
            _layer(score, baseline.layers[index], _part(window, baseline, score.name))
            for index, score in enumerate(verdict.layers)
        ],
    }


def describe_layer(stretch: Stretch, baseline: Baseline, level: float, name: str) -> Plain:
    """One layer's scores, and all its channels, live and in the baseline; KeyError if there is no
    such layer. What needs more images than the stretch has is None."""
    window = stretch.layers
    live = _part(window, baseline, name)
    index = list(baseline.places).index(name)
    layer = baseline.layers[index]
    scores = judge(window, baseline, level).layers
    return {
        "name": name,
        "n": window.rows,
        "n_needed": LEAST_ROWS,
        "scores": _layer(scores[index], layer, live) if scores else None,
        "channels": {
            "mean": live[0] if window.rows else None,
            "std": np.sqrt(np.maximum(0.0, live[1] - live[0] ** 2)) if window.rows else None,
            "contribution": scores[index].contribution if scores else None,
            "baseline_mean": layer.mean,
            "baseline_std": np.sqrt(layer.var),
            "used": layer.used,
        },
    }


def describe_history(stretches: Sequence[Stretch], baseline: Baseline, level: float) -> Plain:
    """Each stretch judged by itself, the oldest first; of the layers only the effects."""
    return {
        "n_needed": LEAST_ROWS,
        "layers": [
            {"name": one.name, "mean_floor": one.mean_floor, "variance_floor": one.var_floor}
            for one in baseline.layers
        ],
        "windows": [_step(stretch.layers, baseline, level) for stretch in stretches],
    }


def _step(window: Window, baseline: Baseline, level: float) -> Plain:
    verdict = judge(window, baseline, level)
    return {
        "started": window.started,
        "n": window.rows,
        "verdict": verdict.word,
        "outliers": window.outliers,
        "nonfinite": window.nonfinite,
        "mean_shift": [score.mean_shift for score in verdict.layers],
        "variance_shift": [score.variance_shift for score in verdict.layers],
        "alarm": [score.alarm for score in verdict.layers],
    }


def _part(window: Window, baseline: Baseline, name: str) -> tuple[Any, Any]:
    place = baseline.places[name]
    return window.mean[place], window.mean_square[place]


def _layer(score: LayerScore, layer: LayerBaseline, live: tuple[Any, Any]) -> Plain:
    return {
        "name": score.name,
        "mean_shift": score.mean_shift,
        "variance_shift": score.variance_shift,
        "mean_significance": score.mean_significance / score.mean_threshold,
        "variance_significance": score.variance_significance / score.variance_threshold,
        "threshold": 1.0,
        "mean_floor": score.mean_floor,
        "variance_floor": score.variance_floor,
        "alarm": score.alarm,
        "top_channels": [
            _channel(int(index), score, layer, live)
            for index in np.argsort(-score.contribution, kind="stable")[:_TOP]
            if score.contribution[index] > 0
        ],
    }


def _channel(index: int, score: LayerScore, layer: LayerBaseline, live: tuple[Any, Any]) -> Plain:
    mean, mean_square = (float(vector[index]) for vector in live)
    return {
        "channel": index,
        "contribution": float(score.contribution[index]),
        "mean": mean,
        "std": float(np.sqrt(max(0.0, mean_square - mean**2))),
        "baseline_mean": float(layer.mean[index]),
        "baseline_std": float(np.sqrt(layer.var[index])),
    }


def _outliers(window: Window, baseline: Baseline, verdict: Verdict) -> Plain:
    return {
        "count": window.outliers,
        "share": window.outliers / window.rows if window.rows else None,
        "baseline_share": baseline.image_rate,
        "alarm": verdict.outliers_alarm,
    }


def _classes(window: Window, baseline: Baseline) -> Plain | None:
    """Predicted classes, live and in the reference, each as counts."""
    if baseline.classes is None:
        return None
    live = np.zeros(len(baseline.classes), np.int64)
    live[: len(window.classes)] = window.classes
    return {"live": live.tolist(), "baseline": list(baseline.classes)}


def _change(score: ChangeScore) -> Plain:
    return {
        "name": score.change,
        "amount": score.amount,
        "significance": score.significance / score.threshold,
        "threshold": 1.0,
        "floor": score.floor,
        "explained": min(1.0, score.explained),
        "alarm": score.alarm,
    }


def _cause(
    live: Window, verdict: Verdict, reference: tuple[Input | None, Pictures | None]
) -> str | None:
    """What explains drift: a mistake of scale, by the input itself; or a known change, by how the
    layers moved. What has a signature is told by that."""
    if verdict.word != "drift":
        return None
    by_layers = {WORDS[change.change] for change in verdict.changes}
    words = _by_input(live, *reference)
    if words is not None and words not in by_layers:
        return words
    change = verdict.change
    return WORDS[change.change] if change is not None and change.is_cause else None


def _by_input(window: Window, reference: Input | None, pictures: Pictures | None) -> str | None:
    if reference is None or window.rows < LEAST_ROWS or len(reference.mean) != window.channels:
        return None
    variance = np.maximum(window.mean_square - window.mean**2, _LEAST_STD)
    return likely_cause(reference, Input(window.mean, np.sqrt(variance)), pictures)
