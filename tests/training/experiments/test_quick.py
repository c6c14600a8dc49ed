"""Every experiment with its quick settings on the real MNIST: the effects, by their order.

The effects are those of the papers; sizes are left to the full runs. Two of them run where the
command is tested: bias and landscape.
"""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from training.experiments import NAMES, experiment
from training.experiments.runner import Options, reproduce


class Silent:
    """Shows nothing."""

    def begin(self, part: str) -> None: ...
    def advance(self, step: int, steps: int) -> None: ...
    def figures(self, values: object) -> None: ...
    def end(self, part: str, seconds: float) -> None: ...


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the experiments of this module leave their results."""
    return tmp_path_factory.mktemp("experiments")


def _run(name: str, out: Path) -> tuple[dict[str, Any], list[str]]:
    """The results of a quick run, and the verdicts on its findings."""
    (done,) = reproduce([name], Options(out, quick=True), Silent())
    content = json.loads((out / name / "results.json").read_text())
    for plot in done.section.plots:
        assert (out / name / f"{plot.name}.svg").read_bytes().startswith(b"<?xml")
    return content["results"], [finding.verdict for finding in done.section.findings]


def test_every_name_leads_to_its_experiment() -> None:
    assert [experiment(name).name for name in NAMES] == list(NAMES)


@pytest.mark.timeout(600)
def test_zjk_the_start_of_the_scale_is_the_cause_and_one_picture_alone_is_lost(out: Path) -> None:
    results, _ = _run("zjk", out)
    coded = results["coded"]
    accuracy = {name: run["accuracies"][0] for name, run in coded.items()}
    assert accuracy["none"]["512"] < 0.15 < accuracy["zjk"]["512"] < accuracy["torch"]["512"]
    losses = {name: run["history"][-1]["loss"] for name, run in coded.items()}
    assert losses["zjk-scale-one"] == pytest.approx(losses["torch"], rel=1e-4)
    assert losses["torch"] < losses["zjk"]
    row = accuracy["zjk"]
    assert row["512"] > row["8"] > row["1"]
    assert row["1"] < 0.15
    assert len({accuracy["torch"][size] for size in ("512", "64", "8", "1")}) == 1


@pytest.mark.timeout(600)
def test_mlp_is_faster_and_steadier_with_bn(out: Path) -> None:
    results, verdicts = _run("mlp", out)
    assert verdicts[2] == "holds"
    plain, batch = (results["runs"][role]["0"]["history"] for role in ("plain", "tuned"))
    assert all(b["accuracy"] > a["accuracy"] for a, b in zip(plain, batch, strict=True))


@pytest.mark.timeout(600)
def test_learning_rate_bn_learns_at_larger_rates(out: Path) -> None:
    assert _run("learning-rate", out)[1][0::2] == ["holds", "holds"]


def test_saturation_bn_keeps_sigmoids_out_of_saturation(out: Path) -> None:
    results, verdicts = _run("saturation", out)
    last = {kind: runs["1.0"]["history"][-1] for kind, runs in results.items()}
    for layer in range(1, 6):
        assert last["plain"][f"layer{layer}"] > 0.5 > 0.01 > last["batch"][f"layer{layer}"]
    assert verdicts[2] == "holds"


@pytest.mark.timeout(600)
def test_init_scale_bn_learns_from_more_starts(out: Path) -> None:
    assert _run("init-scale", out)[1][0] == "holds"


def test_input_scale_the_invariance_ends_with_frozen_statistics(out: Path) -> None:
    assert _run("input-scale", out)[1][0] == "holds in part"


@pytest.mark.timeout(600)
def test_batch_size_four_pictures_are_noisier_to_train_by_than_sixty_four(out: Path) -> None:
    results, _ = _run("batch-size", out)
    runs = {(run["kind"], run["size"]): run for run in results["runs"]}
    by_few, by_all = (fmean(r["loss"] for r in runs["ghost", n]["history"]) for n in (4, 64))
    assert by_few > 1.01 * by_all
    assert {kind for kind, size in runs if not size} == {"layer", "instance", "group"}
    assert all(run["final"] > 0.8 for run in runs.values())


def test_estimators_the_fast_average_is_noisier(out: Path) -> None:
    assert _run("estimators", out)[1][1] == "holds"


def test_conditioning_every_operation_does_what_it_says(out: Path) -> None:
    assert set(_run("conditioning", out)[1]) == {"holds"}


def test_axes_agree_to_the_last_digits(out: Path) -> None:
    assert set(_run("axes", out)[1]) == {"holds"}
