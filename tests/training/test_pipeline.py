"""The whole offline way on real data, step by step: from a short run to a bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.bundle import open_bundle
from training import pipeline
from training.checkpoint import Checkpoint, load_checkpoint
from training.config import TrainingConfig
from training.data import Dataset
from training.errors import UnusableInput
from training.population import BatchNorm


def test_both_statistics_and_their_accuracies_are_kept(
    short_run: Checkpoint, run_folder: Path
) -> None:
    kept = load_checkpoint(run_folder)
    assert kept.metrics == short_run.metrics
    assert set(kept.metrics) == {
        "accuracy_moving_average",
        "accuracy_population",
        "mean_distance",
        "variance_distance",
    }
    for layer, statistics in kept.population.items():
        moving = kept.model[f"{layer}.running_mean"]
        assert not torch.equal(moving, statistics["mean"])
        assert torch.equal(statistics["mean"], short_run.population[layer]["mean"])


def test_a_finished_run_is_not_done_again(
    short_config: TrainingConfig, short_run: Checkpoint, mnist: Dataset, run_folder: Path
) -> None:
    before = load_checkpoint(run_folder)
    again = pipeline.train(
        short_config, mnist, run_folder, resume=True, report=lambda checkpoint, steps: None
    )
    assert again.metrics == short_run.metrics
    after = load_checkpoint(run_folder)
    assert after.step == before.step == short_run.step
    assert after.history == before.history
    assert all(torch.equal(value, after.model[name]) for name, value in before.model.items())


@pytest.mark.parametrize("statistics", ["population", "moving-average"])
def test_the_chosen_statistics_are_frozen(
    statistics: pipeline.Statistics, short_run: Checkpoint
) -> None:
    network, provenance = pipeline.frozen_network(short_run, statistics)
    layer = network.get_submodule("features.4")
    assert isinstance(layer, BatchNorm)
    assert layer.running_mean is not None
    chosen = (
        short_run.population["features.4"]["mean"]
        if statistics == "population"
        else short_run.model["features.4.running_mean"]
    )
    assert torch.equal(layer.running_mean, chosen)
    told = provenance["features.4"]
    assert told.statistics == statistics.replace("-", " ")
    assert told.count == short_run.step
    assert (told.moving_mean is not None) == (statistics == "population")


def test_a_run_without_population_statistics_says_what_to_do(short_run: Checkpoint) -> None:
    unfinished = Checkpoint(short_run.config, 3, short_run.model, {}, {}, {})
    with pytest.raises(UnusableInput, match="expected a finished run with population statistics"):
        pipeline.frozen_network(unfinished, "population")


def test_the_bundle_keeps_everything_that_was_in_the_layers(
    short_run: Checkpoint, mnist: Dataset, tmp_path: Path
) -> None:
    written = pipeline.bundle_run(short_run, mnist, tmp_path)
    bundle = open_bundle(written.folder)
    manifest = bundle.manifest
    assert manifest.labels == tuple("0123456789")
    assert manifest.preprocessing == pipeline.preprocessing_of(mnist.source)
    assert manifest.metrics["accuracy"] == short_run.metrics["accuracy_population"]
    names = [f"features.{i}" for i in (1, 4, 8, 11, 15, 18)]
    assert [layer.name for layer in bundle.layers] == names
    for layer in bundle.layers:
        assert layer.folded_into is not None
        assert (layer.momentum, layer.count) == (0.1, short_run.step)
        state = short_run.model
        expected = {
            "scale": state[f"{layer.name}.weight"],
            "bias": state[f"{layer.name}.bias"],
            "mean": short_run.population[layer.name]["mean"],
            "var": short_run.population[layer.name]["var"],
            "moving_mean": state[f"{layer.name}.running_mean"],
            "moving_var": state[f"{layer.name}.running_var"],
        }
        for field, tensor in expected.items():
            found = bundle.statistics[layer.name][field]
            np.testing.assert_array_equal(found, tensor.numpy(), err_msg=f"{layer.name} {field}")
