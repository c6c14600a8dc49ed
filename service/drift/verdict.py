"""The verdict on a window of traffic, in one word, and its diagnosis in a sentence."""

import math
from dataclasses import dataclass
from typing import Literal

from service.drift.baseline import Baseline
from service.drift.scores import LayerScore, score_layers
from service.drift.window import Window

Word = Literal["insufficient", "ok", "watch", "drift"]

LEAST_ROWS = 5
# A share of unlike images is called drift from here on: one in fifty beyond the reference's own.
_LEAST_EXCESS = 0.02
# Of the probability of a false alarm, the part that counting such images may have.
_OUTLIERS_PART = 0.1
# The network's depth in thirds.
_EARLY, _LATE = 1 / 3, 2 / 3


@dataclass(frozen=True, eq=False)
class Verdict:
    """The word, the layers' scores in network order, and the diagnosis; a window of less than
    LEAST_ROWS images has no scores. `outliers_alarm` tells whether there are too many images that
    are unlike any of the reference, though the means may not show it."""

    word: Word
    diagnosis: str
    layers: tuple[LayerScore, ...]
    outliers_alarm: bool = False


def judge(window: Window, baseline: Baseline, level: float) -> Verdict:
    """The verdict on a window; `level` is the probability of an alarm where nothing has moved."""
    if window.rows < LEAST_ROWS:
        missing = LEAST_ROWS - window.rows
        return Verdict("insufficient", f"{missing} more images are needed for a verdict", ())
    scores = tuple(score_layers(window, baseline, (1 - _OUTLIERS_PART) * level))
    outliers = _too_many_outliers(window, baseline, _OUTLIERS_PART * level)
    if any(score.alarm for score in scores):
        return Verdict("drift", _by_depth(scores), scores, outliers)
    if outliers:
        share = window.outliers / window.rows
        words = (
            f"the layers' means have not moved, but {share:.1%} of the images are unlike the "
            f"reference, where {baseline.image_rate:.1%} were: a part of the traffic is something "
            "else"
        )
        return Verdict("drift", words, scores, outliers)
    if any(score.significant for score in scores):
        worst = max(scores, key=lambda score: score.effect)
        words = (
            f"layer '{worst.name}' has moved more than chance explains, and less than the smallest "
            "effect that matters"
        )
        return Verdict("watch", words, scores, outliers)
    return Verdict("ok", "no layer has moved more than chance explains", scores, outliers)


def _by_depth(scores: tuple[LayerScore, ...]) -> str:
    """Where the first layers that moved are, and what moved in them, tells what it came from: later
    layers only pass on, often enlarged, what reached them."""
    moved = [index for index, score in enumerate(scores) if score.alarm]
    last = max(1, len(scores) - 1)
    largest = max((scores[index] for index in moved), key=lambda score: score.effect)
    most = f"'{largest.name}' moved most"
    if moved[0] / last > _LATE:
        return f"only the last layers moved ({most}): another mix of classes, or new content"
    early = [scores[index] for index in moved if index / last <= _EARLY]
    if not early:
        return f"the first layers did not move, later ones did ({most}): texture or content"
    means = max(score.mean_shift / score.mean_floor for score in early)
    spreads = max(score.variance_shift / score.variance_floor for score in early)
    if means >= spreads:
        return (
            f"from the first layers on means moved ({most}): light, colour, sensor or preprocessing"
        )
    return f"from the first layers on spreads changed ({most}): contrast, blur or noise"


def _too_many_outliers(window: Window, baseline: Baseline, level: float) -> bool:
    """Whether so many would be seen by chance less often than `level`."""
    excess = window.outliers / window.rows - baseline.image_rate
    return excess > _LEAST_EXCESS and (
        _at_least(window.outliers, window.rows, baseline.image_rate) < level
    )


def _at_least(successes: int, trials: int, rate: float) -> float:
    """P(X ≥ successes) for X binomial."""
    if rate <= 0:
        return float(successes == 0)
    below = 0.0
    for k in range(successes):
        ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        below += math.exp(ways + k * math.log(rate) + (trials - k) * math.log1p(-rate))
    return max(0.0, 1 - below)
