"""`conditioning`: lecture 000's loss contours, condition numbers, and document 004's whitening."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.experiments import figures
from training.experiments.experiment import (
    Experiment,
    Finding,
    Plot,
    Results,
    Section,
    Table,
    verdict,
)
from training.experiments.lab import Lab, Part
from training.normalization import color, covariance_report, decorrelate, standardize, whiten

INPUTS = {"raw": "as they are", "standardized": "standardized", "whitened": "whitened (ZCA)"}
OPERATIONS = {
    "raw": "none",
    "decorrelated": "decorrelation",
    "standardized": "standardization",
    "zca": "ZCA whitening",
    "pca": "PCA whitening",
    "colored": "coloring",
}


@dataclass(frozen=True, slots=True)
class Config:
    """A regression of `rows` with two inputs of the given scales, centred at their scale, and
    MNIST's pixels pooled to `side` × `side`, `pictures` of them."""

    seed: int = 0
    rows: int = 500
    scales: tuple[float, float] = (1.0, 100.0)
    goal: float = 1e-6
    limit: int = 200_000
    side: int = 7
    pictures: int = 60_000


def run(lab: Lab, config: Config) -> Results:
    """The regression with each kind of input, and each operation on pixels; float64."""

    def regression(part: Part) -> Results:
        return _regression(part, config)

    def pixels(part: Part) -> Results:
        pictures = lab.digits.images[: config.pictures].double()
        return _pixels(torch.nn.functional.adaptive_avg_pool2d(pictures, config.side).flatten(1))

    return {
        "regression": lab.part("regression", regression, seed=config.seed),
        "pixels": lab.part("pixels", pixels, seed=config.seed),
    }


def _regression(part: Part, config: Config) -> Results:
    """Least squares y = Xw: the Hessian X'X/n, gradient descent at the best rate, the path.

    2/(λmin + λmax) is the constant rate with the fastest guaranteed decrease.
    """
    scales = torch.tensor(config.scales, dtype=torch.float64)
    x = (torch.randn(config.rows, 2, dtype=torch.float64) + 1.0) * scales
    y = (x / scales) @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    y = y + 0.1 * torch.randn(config.rows, dtype=torch.float64)
    results: Results = {}
    for name, inputs in (("raw", x), ("standardized", standardize(x)), ("whitened", whiten(x))):
        target = y if name == "raw" else y - y.mean()
        hessian = inputs.T @ inputs / config.rows
        values = torch.linalg.eigvalsh(hessian)
        best = torch.linalg.solve(hessian, inputs.T @ target / config.rows)
        w = best + 1.5 / hessian.diagonal().sqrt()
        rate = 2 / (values[0] + values[-1])
        path, start = [w.tolist()], _excess(w, best, hessian)
        steps = 0
        while _excess(w, best, hessian) > config.goal * start and steps < config.limit:
            w = w - rate * (hessian @ (w - best))
            steps += 1
            if steps <= 100:
                path.append(w.tolist())
            part.advance(steps, config.limit)
        results[name] = {
            "hessian": hessian.tolist(),
            "condition": float(values[-1] / values[0]),
            "best": best.tolist(),
            "steps": steps,
            "path": path,
        }
    return results


def _excess(w: Tensor, best: Tensor, hessian: Tensor) -> float:
    """Loss above the least: half the square of the distance in the Hessian's metric."""
    away = w - best
    return float(away @ hessian @ away / 2)


def _pixels(x: Tensor) -> Results:
    """Each operation's covariance: pixels that never vary are left out."""
    x = x[:, x.std(0) > 1e-3]
    index = torch.arange(x.shape[1])
    target = 0.5 ** (index[:, None] - index).abs().double()  # neighbours correlate by a half
    white = whiten(x, eps=0.0)
    outputs = {
        "raw": x,
        "decorrelated": decorrelate(x),
        "standardized": standardize(x, eps=0.0),
        "zca": white,
        "pca": whiten(x, "pca", eps=0.0),
        "colored": color(white, target),
    }
    results: Results = {"dimensions": x.shape[1]}
    for name, rows in outputs.items():
        report = covariance_report(rows)
        covariance = (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / len(rows)
        results[name] = {
            "condition": report.condition_number,
            "correlation": report.largest_correlation,
            "from_identity": report.from_identity,
            "from_target": float((covariance - target).abs().max()),
            "variance": [float(report.variance.min()), float(report.variance.max())],
            "covariance": covariance.float().tolist() if len(x[0]) <= 64 else None,
        }
    before, after = outputs["raw"].var(0), outputs["decorrelated"].var(0)
    results["total_variance"] = [float(before.sum()), float(after.sum())]
    return results


def section(config: Any, results: Results) -> Section:
    """Condition numbers, steps, and what each operation does to the covariance."""
    regression, pixels = results["regression"], results["pixels"]
    condition = {name: regression[name]["condition"] for name in INPUTS}
    steps = {name: regression[name]["steps"] for name in INPUTS}
    sums = pixels["total_variance"]
    kept = pixels["standardized"]["correlation"] / pixels["raw"]["correlation"]
    low, high = pixels["standardized"]["variance"]
    findings = [
        Finding(
            "With inputs of different scale the loss is a long ellipse and each weight wants a "
            "rate of its own; standardized, it is nearly round, and one rate will do.",
            "000",
            "Condition number of the Hessian "
            + ", ".join(f"{condition[name]:.3g} {words}" for name, words in INPUTS.items())
            + "; steps of gradient descent at the best constant rate to a millionth of the loss: "
            + ", ".join(f"{steps[name]:,}" for name in INPUTS)
            + ".",
            verdict(
                condition["standardized"] < condition["raw"] / 100,
                steps["standardized"] < steps["raw"] / 100,
            ),
        ),
        Finding(
            "Decorrelation removes correlation and keeps the variance.",
            "004",
            f"Largest correlation {pixels['decorrelated']['correlation']:.1e}; the sum of "
            f"variances is kept ({sums[0]:.6g}, {sums[1]:.6g}), those of the columns are new ones "
            "(the eigenvalues).",
            verdict(
                pixels["decorrelated"]["correlation"] < 1e-8, abs(sums[0] / sums[1] - 1) < 1e-9
            ),
        ),
        Finding(
            "Standardization sets variances to 1 and keeps correlations.",
            "004",
            f"Variances from {low:.12g} to {high:.12g}; largest correlation as before to "
            f"{abs(kept - 1):.1e}.",
            verdict(abs(low - 1) < 1e-9, abs(high - 1) < 1e-9, abs(kept - 1) < 1e-9),
        ),
        Finding(
            "Whitening gives the identity as covariance, coloring a given one.",
            "004; paper 2",
            f"Largest entry off the identity: ZCA {pixels['zca']['from_identity']:.1e}, PCA "
            f"{pixels['pca']['from_identity']:.1e}; off the given covariance "
            f"{pixels['colored']['from_target']:.1e}.",
            verdict(
                max(pixels[name]["from_identity"] for name in ("zca", "pca")) < 1e-8,
                pixels["colored"]["from_target"] < 1e-8,
            ),
        ),
    ]
    rows = [
        (
            words,
            f"{pixels[name]['condition']:.3g}",
            f"{pixels[name]['correlation']:.2g}",
            f"{pixels[name]['variance'][0]:.3g} … {pixels[name]['variance'][1]:.3g}",
        )
        for name, words in OPERATIONS.items()
    ]
    header = ("operation", "condition number", "largest correlation", "variances")
    caption = f"{config.pictures:,} pictures of {config.side}×{config.side} pixels, those that vary"
    notes = [
        "Standardizing is enough only where inputs are not correlated: the pixels keep a condition "
        "number far from 1 until they are whitened. BN standardizes; it does not decorrelate."
    ]
    table = Table(f"{caption} ({pixels['dimensions']})", header, rows)
    return Section(findings, [table], [_contours(regression), _covariances(pixels)], notes)


def _contours(regression: Results) -> Plot:
    figure, three = figures.panels(3, height=3.0)
    for axes, (name, words) in zip(three, INPUTS.items(), strict=True):
        found = regression[name]
        best, hessian = np.array(found["best"]), np.array(found["hessian"])
        path = np.array(found["path"])
        # One unit of weight for both axes: what the picture shows is the shape of the valley.
        reach = 1.25 * np.abs(path - best).max()
        grid = np.linspace(-reach, reach, 121)
        dx, dy = np.meshgrid(grid, grid)
        loss = (hessian[0, 0] * dx**2 + 2 * hessian[0, 1] * dx * dy + hessian[1, 1] * dy**2) / 2
        levels = loss.max() * np.array([0.003, 0.02, 0.08, 0.2, 0.4, 0.7])
        axes.contour(best[0] + dx, best[1] + dy, loss, levels, colors=figures.COLOURS["blue"])
        axes.plot(path[:, 0], path[:, 1], ".-", color=figures.COLOURS["orange"], linewidth=1)
        figures.label(axes, f"{words}\nκ = {found['condition']:.3g}", "w₁", "w₂")
        axes.set_box_aspect(1)
    words = "Contours of the loss over the two weights, and the first steps of gradient descent."
    return Plot("contours", words, figure)


def _covariances(pixels: Results) -> Plot:
    figure, six = figures.panels(3, rows=2, height=5.0)
    for axes, (name, words) in zip(six, OPERATIONS.items(), strict=True):
        covariance = np.array(pixels[name]["covariance"])
        limit = np.abs(covariance).max()
        # 40 to 50 columns as vectors: an image would not be sharp at every size.
        axes.pcolormesh(covariance, cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True)
        axes.invert_yaxis()
        axes.set_box_aspect(1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        figures.label(axes, f"{words} (±{limit:.2g})", "", "")
    return Plot("covariances", "Covariance of the pixels after each operation; 0 is white.", figure)


EXPERIMENT = Experiment(
    name="conditioning",
    title="Contours, condition numbers, whitening (lecture 000, document 004)",
    setup=(
        "Least squares with two inputs whose scales differ by 100 and whose means are not 0; the "
        "inputs as they are, standardized, and whitened. Then the operations of document 004 on "
        "MNIST's pixels, pooled to 7×7 so that a covariance can be looked at. All in float64."
    ),
    full=Config(),
    quick=Config(pictures=5_000),
    run=run,
    section=section,
)
