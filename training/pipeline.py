"""The order of the steps, from a configuration to a bundle; the only file that knows it.

fit → population statistics → export → fold, prove, probe, baseline, check, write
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from service.manifest import Preprocessing
from training.baseline import Reference
from training.bundle import Description, Written, write_bundle
from training.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.data import Dataset
from training.data.augment import augment
from training.data.sources import SOURCES, Source
from training.errors import UnusableInput
from training.evaluation import accuracy_on_test, as_tensor, standardize
from training.export import Signature, describe, export
from training.fit import Report, fit
from training.networks import build
from training.population import as_statistics, distance, estimate, freeze, normalization_layers
from training.provenance import Provenance

Statistics = Literal["population", "moving-average"]
SIGNATURE = Signature(input="image", output="logits")
PROOF_ROWS = 32


def train(
    config: TrainingConfig,
    data: Dataset,
    folder: Path,
    *,
    resume: bool,
    report: Report,
    processes: int = 1,
) -> Checkpoint:
    """Trains, estimates the population statistics, and keeps both with their accuracies.

    The checkpoint in `folder` then has `population` and the metrics `accuracy_moving_average`,
    `accuracy_population`, `mean_distance` and `variance_distance` (see `population.distance`; the
    largest over the layers).
    """
    network, checkpoint = fit(
        config, data, folder, resume=resume, report=report, processes=processes
    )
    if "accuracy_population" not in checkpoint.metrics:
        moments = estimate(network, _training_batches(config, data))
        statistics = as_statistics(moments)
        checkpoint.metrics["accuracy_moving_average"] = accuracy_on_test(network, data)
        distances = distance(network, statistics).values()  # none without batch normalization
        checkpoint.metrics["mean_distance"] = max((mean for mean, _ in distances), default=0.0)
        checkpoint.metrics["variance_distance"] = max((var for _, var in distances), default=0.0)
        freeze(network, statistics)
        checkpoint.metrics["accuracy_population"] = accuracy_on_test(network, data)
        checkpoint.population = statistics
        checkpoint.save(folder)  # its `model` keeps the moving averages
    return checkpoint


def frozen_network(
    checkpoint: Checkpoint, statistics: Statistics
) -> tuple[nn.Module, dict[str, Provenance]]:
    """The trained network with the chosen statistics frozen, in eval mode, and their provenance."""
    network = build(checkpoint.config.network, norm=checkpoint.config.norm)
    network.load_state_dict(checkpoint.model)
    provenance = {
        name: describe(name, layer) for name, layer in normalization_layers(network).items()
    }
    if statistics == "population":
        if "accuracy_population" not in checkpoint.metrics:
            raise UnusableInput(
                "expected a finished run with population statistics; go on with "
                "`foldserve train … --resume`, or choose --statistics moving-average"
            )
        provenance = {
            name: _beside_population(known, checkpoint.model) for name, known in provenance.items()
        }
        freeze(network, checkpoint.population)
    return network.eval(), provenance


def export_run(checkpoint: Checkpoint, statistics: Statistics = "population") -> onnx.ModelProto:
    """The run's network as ONNX, with every BatchNormalization kept and named by its module."""
    network, provenance = frozen_network(checkpoint, statistics)
    return export(network, torch.zeros(1, 1, 28, 28), SIGNATURE, provenance)


def bundle_run(
    checkpoint: Checkpoint,
    data: Dataset,
    models: Path,
    statistics: Statistics = "population",
    name: str | None = None,
    *,
    force: bool = False,
) -> Written:
    """Writes the run's network as the next version of bundle `name` (the configuration's)."""
    config, source = checkpoint.config, data.source
    # Every second test image: the two halves of MNIST's test set come from different writers.
    held_out = standardize(as_tensor(data.test_images[::2]).float() / 255, source)
    rows = np.ascontiguousarray(held_out.numpy())
    metric = checkpoint.metrics[f"accuracy_{statistics.replace('-', '_')}"]
    description = Description(
        name=name or config.name,
        derivation=f"trained as {config.name}, {statistics.replace('-', ' ')} statistics frozen",
        preprocessing=preprocessing_of(source),
        labels=source.labels,
        output_activation="softmax",
        metrics={"accuracy": metric, "accuracy_on": f"{source.title} test set, 10,000 images"},
        producer={"torch": torch.__version__, "config": json.dumps(asdict(config))},
    )
    proto = export_run(checkpoint, statistics)
    reference = Reference({SIGNATURE.input: rows}, f"{source.title} test set, every second image")
    proof = {SIGNATURE.input: rows[:PROOF_ROWS]}
    return write_bundle(proto, description, models, proof, reference, force=force)


def preprocessing_of(source: Source) -> Preprocessing:
    """What turns a picture into the input that the data set's networks were trained on."""
    return Preprocessing(width=28, height=28, colour="L", mean=(source.mean,), std=(source.std,))


def source_of(checkpoint: Checkpoint) -> Source:
    """The data set that the run was trained on."""
    return SOURCES[checkpoint.config.dataset]


def _training_batches(config: TrainingConfig, data: Dataset) -> Iterator[Tensor]:
    """Shuffled training mini-batches, augmented as in training, seeded by the configuration."""
    limit = config.train_images or len(data.train_images)
    order = np.random.default_rng(config.seed).permutation(limit)
    size = config.population_batch_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for start in range(0, min(limit, config.population_batches * size), size):
            chosen = np.sort(order[start : start + size])
            images = as_tensor(data.train_images[chosen]).float() / 255
            yield standardize(augment(images, config.augmentation), data.source)


def _beside_population(known: Provenance, state: dict[str, Tensor]) -> Provenance:
    """The provenance of population statistics, with the moving averages of training beside them."""
    return replace(
        known,
        statistics="population",
        moving_mean=state[f"{known.layer}.running_mean"].numpy(),
        moving_var=state[f"{known.layer}.running_var"].numpy(),
    )
