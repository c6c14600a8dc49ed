"""What tests of more than one room need: a tiny bundle, and one short run on real data."""

from pathlib import Path

import pytest
import torch

from tests.servers import no_process_outlives_its_test, no_process_outlives_the_tests
from tests.service.bundles import write_bundle
from training import pipeline
from training.checkpoint import Checkpoint
from training.config import PRESETS, TrainingConfig
from training.data import Dataset, load

__all__ = ["no_process_outlives_its_test", "no_process_outlives_the_tests"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Batches this small are slower on two threads, and much slower beside other work."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """The folder models/tiny/1 with a real bundle: a small convolutional network."""
    return write_bundle(tmp_path / "models")


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """The complete MNIST."""
    return load("mnist")


@pytest.fixture(scope="session")
def short_config() -> TrainingConfig:
    """The convolutional preset on the first 2,000 digits, one epoch."""
    changes = {"epochs": 1, "batch_size": 50, "train_images": 2000, "population_batches": 4}
    return PRESETS["mnist-cnn"].replace(**changes)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the short run is kept."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def short_run(short_config: TrainingConfig, mnist: Dataset, run_folder: Path) -> Checkpoint:
    """The short run, trained, with its population statistics."""
    return pipeline.train(
        short_config, mnist, run_folder, resume=False, report=lambda checkpoint, steps: None
    )
