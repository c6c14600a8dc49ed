"""What the runs of `zjk` say of document 003, and what its real cause is."""

from typing import Any

from training.experiments import figures
from training.experiments.experiment import (
    Finding,
    Plot,
    Results,
    Section,
    Table,
    percent,
    verdict,
)

NAMES = {
    "none": "no BN",
    "zjk": "the document's BN",
    "zjk-scale-one": "the document's BN, γ from 1",
    "torch": "PyTorch's BN",
}
COLOURS = dict(zip(NAMES, ("grey", "orange", "purple", "blue"), strict=True))
# Printed in the document: last training losses (about), test loss, correct of 10,000.
PRINTED = {"none": ("2.30", 2.2999, 1135), "zjk": ("0.83", 0.8150, 9210)}
PRINTED |= {"torch": ("0.46", 0.4444, 9565)}
BATCHES = ("512", "64", "8", "1")
SETTINGS = {"stated": "as stated (MSE, batch 20)", "coded": "as coded (NLL, batch 512)"}


def section(config: Any, results: Results) -> Section:
    """Both settings, the ablation, and the same weights at four batch sizes."""
    coded, stated = results["coded"], results["stated"]
    final = {setting: {v: _way(run) for v, run in results[setting].items()} for setting in SETTINGS}
    ordered = [
        final[s]["none"]["512"] < final[s]["zjk"]["512"] < final[s]["torch"]["512"]
        for s in SETTINGS
    ]
    momentum = _gain(coded["zjk"], 0.9, "running") - _gain(coded["zjk"], 0.1, "running")
    scale = final["coded"]["zjk-scale-one"]["512"] - final["coded"]["zjk"]["512"]
    loss = {v: run["history"][-1]["loss"] for v, run in coded.items()}
    own = final["coded"]["zjk"]
    findings = [
        Finding(
            "Without BN the network hardly learns in 20 epochs; with the document's BN it reaches "
            "92 %, with PyTorch's 96 %.",
            "003 3.3",
            "; ".join(
                f"{words}: "
                + ", ".join(f"{NAMES[v]} {percent(row['512'])}" for v, row in final[s].items())
                for s, words in SETTINGS.items()
            )
            + ".",
            verdict(*ordered),
        ),
        Finding(
            "The loss is the mean squared error, the batch 20.",
            "003 3.2",
            "The document prints 2.302585 = ln 10 for the network that learns nothing; here its "
            f"last loss is {_loss(coded['none'])} as coded and {_loss(stated['none'])} as stated "
            "(0.09 is the squared error of ten equal probabilities). 14848, 30208 and 45568 "
            "pictures, where it prints, are multiples of 512.",
            verdict(abs(stated["none"]["history"][-1]["loss"] - 2.3026) < 0.01),
        ),
        Finding(
            "The main reason that the document's BN is behind PyTorch's is the momentum.",
            "003 3.4",
            f"With γ from 1 and nothing else changed: {scale * 100:+.2f} points, training loss "
            f"{loss['zjk']:.3f} → {loss['zjk-scale-one']:.3f} (PyTorch's BN {loss['torch']:.3f}). "
            f"The momentum, with running statistics in all layers: {momentum * 100:+.2f} points; "
            "it does not enter training, so it cannot explain the loss.",
            verdict(momentum > scale),
        ),
        Finding(
            "A prediction does not depend on the other pictures of the batch.",
            "paper 3.1; silently assumed by 003",
            "The document's BN, the same weights: "
            + ", ".join(f"{percent(own[batch])} at batch {batch}" for batch in BATCHES)
            + ".",
            verdict(max(own[b] for b in BATCHES) - min(own[b] for b in BATCHES) < 1e-9),
        ),
    ]
    tables = [_against_document(final, results), _ablation(coded), _by_batch(coded)]
    notes = [
        "The cause is γ's start, uniform in (0, 1) instead of 1: every sigmoid sees inputs half "
        "as wide, gradients are smaller, and at this small rate 20 epochs are not enough. With γ "
        "from 1 the document's layer trains exactly as PyTorch's does. Its evaluation of fully "
        "connected layers by the test batch cannot be seen at batch 512, and is fatal at batch 1: "
        "a picture normalized by itself is 0, and the answer is β alone.",
    ]
    return Section(findings, tables, [_losses(results), _batch_plot(coded)], notes)


def _way(run: Results) -> dict[str, float]:
    """Accuracies by batch size with the statistics as the layer has them."""
    row: dict[str, float] = run["accuracies"][0]
    return row


def _gain(run: Results, keep: float, evaluation: str) -> float:
    found = [r for r in run["accuracies"] if (r["keep"], r["evaluation"]) == (keep, evaluation)]
    return float(found[0]["512"])


def _loss(run: Results) -> str:
    return f"{run['history'][-1]['loss']:.4f}"


def _against_document(final: dict[str, Any], results: Results) -> Table:
    rows = []
    for setting, words in SETTINGS.items():
        for variant, run in results[setting].items():
            test_loss = f"{run['history'][-1]['test_loss']:.4f}"
            measured = (_loss(run), test_loss, percent(final[setting][variant]["512"]))
            rows.append((words, NAMES[variant], *measured, *_printed(variant)))
    measures = ("loss", "test loss", "accuracy")
    header = ("settings", "network", *measures, *(f"document: {words}" for words in measures))
    return Table("Measured (last epoch) and printed in the document", header, rows)


def _printed(variant: str) -> tuple[str, str, str]:
    if variant not in PRINTED:
        return ("", "", "")
    loss, test_loss, right = PRINTED[variant]
    return (loss, f"{test_loss:.4f}", percent(right / 10_000))


def _ablation(coded: Results) -> Table:
    rows = [
        (
            "U(0, 1)" if variant == "zjk" else "1",
            "of the test batch" if e == "batch" else "running",
            f"{keep:g}",
            _loss(coded[variant]),
            percent(_gain(coded[variant], keep, e)),
        )
        for variant in ("zjk", "zjk-scale-one")
        for e in ("batch", "running")
        for keep in (0.1, 0.9)
    ]
    header = (
        "γ starts at",
        "statistics of 2-D input",
        "kept of the old",
        "training loss",
        "accuracy",
    )
    return Table(
        "Ablation, as coded, at batch 512: the document's layer to PyTorch's", header, rows
    )


def _by_batch(coded: Results) -> Table:
    rows = [
        (NAMES[variant], *(percent(_way(run)[batch]) for batch in BATCHES))
        for variant, run in coded.items()
    ]
    header = ("network", *(f"batch {batch}" for batch in BATCHES))
    return Table("Test accuracy of the same weights, by the batch they are tested in", header, rows)


def _losses(results: Results) -> Plot:
    figure, both = figures.panels(2, height=3.5)
    for axes, (setting, words) in zip(both, SETTINGS.items(), strict=True):
        for variant, run in results[setting].items():
            history = run["history"]
            epochs = range(1, len(history) + 1)
            colour = figures.COLOURS[COLOURS[variant]]
            line = "--" if variant == "zjk-scale-one" else "-"
            losses, tested = ([row[name] for row in history] for name in ("loss", "test_loss"))
            axes.plot(epochs, losses, line, color=colour, label=NAMES[variant])
            axes.plot(epochs, tested, line, color=colour, linewidth=0.8, alpha=0.7)
        figures.label(axes, words, "epoch", "loss")
        axes.set_ylim(bottom=0)
    figures.shared_legend(figure, both[1], ncols=2)
    return Plot("loss", "Training loss (thick) and test loss (thin) by epoch.", figure)


def _batch_plot(coded: Results) -> Plot:
    figure, (axes,) = figures.panels(height=3.2)
    for variant, run in coded.items():
        values = [100 * _way(run)[batch] for batch in BATCHES]
        colour = figures.COLOURS[COLOURS[variant]]
        axes.plot(BATCHES, values, "o-", color=colour, label=NAMES[variant])
    figures.label(axes, "", "batch in which the pictures are tested", "test accuracy, %")
    axes.set_ylim(0, 101)
    figures.legend(axes, loc="center left")
    return Plot("batch", "Accuracy of the same weights by the batch they are tested in.", figure)
