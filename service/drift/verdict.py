"""The verdict on a window of traffic, in one word, and its diagnosis in a sentence."""

import math
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal

from service.drift.baseline import Baseline
from service.drift.changes import WORDS, ChangeScore, score_changes
from service.drift.scores import LayerScore, moved, score_layers
from service.drift.window import Window

Word = Literal["insufficient", "ok", "watch", "drift"]

LEAST_ROWS = 5
# A share of unlike images is called drift from here on: one in fifty beyond the reference's own.
_LEAST_EXCESS = 0.02
# Of the probability of a false alarm, the parts that counting such images and the known changes
# may have; the rest is the layers'.
_OUTLIERS_PART, _CHANGES_PART = 0.1, 0.4
# The network's depth in thirds.
_EARLY, _LATE = 1 / 3, 2 / 3


@dataclass(frozen=True, eq=False)
class Verdict:
    """The word, the layers' scores in network order, and the diagnosis; a window of less than
    LEAST_ROWS images has no scores. `outliers_alarm` tells whether there are too many images that
    are unlike any of the reference, though the means may not show it; `changes` are the known ones,
    where the baseline has their signatures."""

    word: Word
    diagnosis: str
    layers: tuple[LayerScore, ...]
    outliers_alarm: bool = False
    changes: tuple[ChangeScore, ...] = ()

    @property
    def change(self) -> ChangeScore | None:
        """Of the known changes that alarm, the one that explains most of what is seen; where no
        layer shows anything by itself, that is mostly chance, and it is the one that stands out
        most from it."""
        alarming = [change for change in self.changes if change.alarm]
        visible = any(score.alarm for score in self.layers)
        by = attrgetter("explained" if visible else "significance")
        return max(alarming, key=by, default=None)


def judge(window: Window, baseline: Baseline, level: float) -> Verdict:
    """The verdict on a window; `level` is the probability of an alarm where nothing has moved."""
    if window.rows < LEAST_ROWS:
        missing = LEAST_ROWS - window.rows
        return Verdict("insufficient", f"{missing} more images are needed for a verdict", ())
    known = 0.0 if baseline.signatures is None else _CHANGES_PART
    layers = (1 - _OUTLIERS_PART - known) * level
    scores = tuple(score_layers(window, baseline, layers))
    outliers = _too_many_outliers(window, baseline, _OUTLIERS_PART * level)
    found = Verdict("ok", "", scores, outliers, _changes(window, baseline, _CHANGES_PART * level))
    word, diagnosis = _word(found, window, baseline)
    return replace(found, word=word, diagnosis=diagnosis)


def _changes(window: Window, baseline: Baseline, level: float) -> tuple[ChangeScore, ...]:
    if baseline.signatures is None:
        return ()
    images = window.rows, baseline.images
    away = moved(window, baseline, 1 / images[0] + 1 / images[1])
    return score_changes(baseline.signatures, away, images, level)


def _word(found: Verdict, window: Window, baseline: Baseline) -> tuple[Word, str]:
    """The word and the diagnosis of what was found."""
    if any(score.alarm for score in found.layers):
        largest = max((x for x in found.layers if x.alarm), key=lambda score: score.effect)
        where, sign = _by_depth(found.layers)
        guess = "" if found.change is not None and found.change.is_cause else f": {sign}"
        return "drift", f"{where} ('{largest.name}' moved most){guess}"
    if found.change is not None:
        return "drift", (
            "no layer has moved far by itself, but all of them together, and most in the direction "
            f"of a known change: {WORDS[found.change.change]}"
        )
    if found.outliers_alarm:
        share = window.outliers / window.rows
        return "drift", (
            f"the layers' means have not moved, but {share:.1%} of the images are unlike the "
            f"reference, where {baseline.image_rate:.1%} were: a part of the traffic is something "
            "else"
        )
    if any(score.significant for score in found.layers):
        worst = max(found.layers, key=lambda score: score.effect)
        return "watch", (
            f"layer '{worst.name}' has moved more than chance explains, and less than the smallest "
            "effect that matters"
        )
    return "ok", "no layer has moved more than chance explains"


def _by_depth(scores: tuple[LayerScore, ...]) -> tuple[str, str]:
    """Where the network moved, and what that is a sign of, where no known change explains it: later
    layers only pass on, often enlarged, what reached them."""
    moved = [index for index, score in enumerate(scores) if score.alarm]
    last = max(1, len(scores) - 1)
    if moved[0] / last > _LATE:
        return "only the last layers moved", "another mix of classes, or new content"
    early = [scores[index] for index in moved if index / last <= _EARLY]
    if not early:
        return "the first layers did not move, later ones did", "texture or content"
    means = max(score.mean_shift / score.mean_floor for score in early)
    spreads = max(score.variance_shift / score.variance_floor for score in early)
    if means >= spreads:
        return "from the first layers on means moved", "light, colour, sensor or preprocessing"
    return "from the first layers on spreads changed", "contrast, blur or noise"


def _too_many_outliers(window: Window, baseline: Baseline, level: float) -> bool:
    """Whether so many would be seen by chance less often than `level`."""
    excess = window.outliers / window.rows - baseline.image_rate
    beyond = baseline.image_rate * baseline.images
    return excess > _LEAST_EXCESS and (
        _at_least(window.outliers, window.rows, (beyond + 1, baseline.images - beyond)) < level
    )


def _at_least(successes: int, trials: int, beta: tuple[float, float]) -> float:
    """P(X ≥ successes) for X beta-binomial: where k of N images are beyond a limit, the share of
    all has the distribution Beta(k + 1, N - k). For a large N, X is binomial."""
    a, b = beta
    below = 0.0
    for k in range(successes):
        ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        below += math.exp(ways + _log_beta(k + a, trials - k + b) - _log_beta(a, b))
    return max(0.0, 1 - below)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
