"""When not to re-calibrate: each reason with what was measured.

Statistics of other inputs help where the inputs have changed and what is in them has not. Where the
mix of classes has changed, they undo what the network knows of the classes; where two domains are
mixed, they fit neither; where only the last layers have moved, the content is another one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.drift.baseline import Baseline, Vector
from service.drift.verdict import Verdict, judge
from service.drift.window import Window
from training.baseline.rows import ProbeRows
from training.recalibrate.mixture import two_components

LEAST_IMAGES = 64  # where the gain has reached its plateau on MNIST; fewer are noise
LEVEL = 0.01  # of a refusal where nothing is wrong
# From here on in the network's depth it is content, not the way of the images, that has moved.
_LATE = 2 / 3
# Two kinds of images. On MNIST and Fashion-MNIST, 64 images of one domain came to a gain of at most
# 0.09 where a part of them was unlike the reference, and mixtures of two that are told apart at all
# to 0.12 and more; where all are unlike it, one domain came to at most 0.27.
_PART, _GAIN, _CLEAR_GAIN, _CLEARLY_APART = 0.8, 0.12, 0.4, 3.0
# The distance between two mixes of classes that counts, beyond what chance makes of it.
_CLASS_DISTANCE = 0.1
_DRAWS, _SEED = 1_000, 20150211


def few_images(images: int) -> str | None:
    """The reason, if there is one."""
    if images >= LEAST_IMAGES:
        return None
    return f"expected at least {LEAST_IMAGES} images, got {images}"


def seen(rows: ProbeRows, baseline: Baseline) -> tuple[Verdict, Vector]:
    """The drift of the rows from the network's own baseline, and how unlike the images of the
    baseline each one is, [n]."""
    means, squares = (
        np.concatenate([held[layer.name] for layer in baseline.layers], axis=1)
        for held in (rows.means, rows.squares)
    )
    window = Window(baseline.channels)
    window.add(means, squares)
    window.outliers = int(baseline.outliers(means).sum())
    return judge(window, baseline, LEVEL), baseline.unlikeness(means)


def only_late_layers(verdict: Verdict) -> str | None:
    """The reason, where the first layer that has moved is one of the last, and no known change of
    pictures explains it."""
    if verdict.change is not None and verdict.change.is_cause:
        return None
    moved = [index for index, score in enumerate(verdict.layers) if score.alarm]
    if not moved or moved[0] <= _LATE * (len(verdict.layers) - 1):
        return None
    worst = max((verdict.layers[i] for i in moved), key=lambda score: score.effect)
    return (
        f"only the last layers have moved ({len(moved)} of {len(verdict.layers)}; '{worst.name}' "
        f"by {worst.mean_shift:.2f} σ and {worst.variance_shift:.2f} in ln σ²): another mix of "
        "classes or new content, which statistics do not mend"
    )


def mixture(unlikeness: Vector, baseline: Baseline, verdict: Verdict) -> str | None:
    """The reason, where the images are of two kinds; `unlikeness` [n]."""
    found = two_components(np.log(np.maximum(unlikeness, 1e-9)))
    outliers = float((unlikeness > baseline.image_limit).mean())
    partly = verdict.outliers_alarm and outliers <= _PART and found.gain >= _GAIN
    if not partly and not (found.gain >= _CLEAR_GAIN and found.apart >= _CLEARLY_APART):
        return None
    return (
        f"the images are of two kinds, of which the smaller has {found.share:.0%} (their distances "
        f"from the baseline are {found.apart:.1f} deviations apart; {outliers:.0%} of all are "
        "unlike it): re-calibrate on each alone"
    )


def label_shift(
    predicted: NDArray[np.int64], classes: Sequence[int], names: Sequence[str] | None
) -> str | None:
    """The reason, where the classes that the re-calibrated network sees are not those of the
    baseline; `classes` counts those.

    The distance is half the sum of the differences between the shares (total variation), against
    what it would be if the images had been dealt out at random between the two (a permutation
    test). It is the new network that is asked: the old one is wrong on a domain that it was not
    normalized for.
    """
    live = np.bincount(predicted, minlength=len(classes))
    known = np.asarray(classes, np.int64)
    random, both = np.random.default_rng(_SEED), live + known
    drawn = random.multivariate_hypergeometric(both, live.sum(), _DRAWS, method="marginals")
    chance = np.abs(drawn / live.sum() - (both - drawn) / known.sum()).sum(axis=1) / 2
    share, expected = live / live.sum(), known / known.sum()
    distance = float(np.abs(share - expected).sum() / 2)
    likely = float(np.quantile(chance, 1 - LEVEL))
    if distance <= max(likely, float(chance.mean()) + _CLASS_DISTANCE):
        return None
    worst = int(np.argmax(np.abs(share - expected)))
    name = names[worst] if names is not None and worst < len(names) else str(worst)
    return (
        f"the mix of predicted classes is another one (distance {distance:.2f}, by chance "
        f"{likely:.2f}; class '{name}' has {share[worst]:.0%} where the baseline has "
        f"{expected[worst]:.0%}): its statistics would undo what the network knows of the classes"
    )
