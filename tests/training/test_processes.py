"""Training by several processes: the numbers of one, and an end that leaves a usable checkpoint."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import pipeline
from training.checkpoint import Checkpoint, load_checkpoint
from training.config import PRESETS
from training.data import Dataset
from training.errors import Interrupted, UnusableInput, WorkerLost
from training.fit import fit

ROOT = Path(__file__).resolve().parents[2]
# Three steps of the shared batch; rounding in another order, in float32.
CLOSE = 2e-3
CONFIG = PRESETS["mnist-cnn"].replace(
    epochs=1, batch_size=33, train_images=100, population_batches=2, learning_rate=0.01
)


def _silent(checkpoint: Checkpoint, steps: int) -> None:
    """Reports to nobody."""


@pytest.fixture(scope="module")
def few(mnist: Dataset) -> Dataset:
    """A little of MNIST: all of it is sent to each process."""
    train, test = slice(200), slice(100)
    return Dataset(
        mnist.source,
        mnist.train_images[train],
        mnist.train_labels[train],
        mnist.test_images[test],
        mnist.test_labels[test],
    )


def test_two_processes_train_to_the_numbers_of_one(few: Dataset, tmp_path: Path) -> None:
    one, two = (
        pipeline.train(
            CONFIG, few, tmp_path / str(count), resume=False, report=_silent, processes=count
        )
        for count in (1, 2)
    )
    assert one.model.keys() == two.model.keys()
    for name, value in one.model.items():
        torch.testing.assert_close(two.model[name], value, rtol=CLOSE, atol=CLOSE)
    for layer, statistics in one.population.items():
        for name, value in statistics.items():
            torch.testing.assert_close(two.population[layer][name], value, rtol=CLOSE, atol=CLOSE)
    assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=CLOSE)
    assert two.history[0]["train_accuracy"] == one.history[0]["train_accuracy"]


def test_a_killed_worker_ends_the_run_and_leaves_the_checkpoint(
    few: Dataset, tmp_path: Path
) -> None:
    config = CONFIG.replace(epochs=3)

    def kill(checkpoint: Checkpoint, steps: int) -> None:
        if checkpoint.step == 5:
            worker = next(p for p in multiprocessing.active_children() if p.pid is not None)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(WorkerLost, match=r"process 1 of 2 ended by signal 9; .* of step 3: go on"):
        fit(config, few, tmp_path, resume=False, report=kill, processes=2)
    assert load_checkpoint(tmp_path).step == 3  # that of the end of the first epoch
    assert not multiprocessing.active_children()
    resumed = fit(config, few, tmp_path, resume=True, report=_silent)[1]
    assert resumed.step == 9


def test_an_interrupted_run_is_saved_where_it_stopped(few: Dataset, tmp_path: Path) -> None:
    def interrupt(checkpoint: Checkpoint, steps: int) -> None:
        if checkpoint.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped after step 2 of 3; go on with --resume"):
        fit(CONFIG, few, tmp_path, resume=False, report=interrupt, processes=2)
    assert load_checkpoint(tmp_path).step == 2
    assert not multiprocessing.active_children()


def test_what_cannot_be_synchronized_is_refused(few: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="norm ghost cannot be synchronized"):
        fit(CONFIG.replace(norm="ghost"), few, tmp_path, resume=False, report=_silent, processes=2)


@pytest.mark.parametrize("launcher", ["nproc", "torchrun"])
def test_the_command_trains_with_two_processes(launcher: str, tmp_path: Path) -> None:
    config = tmp_path / "short.toml"
    config.write_text(
        'network = "mnist-mlp"\ndataset = "mnist"\nepochs = 1\nbatch_size = 50\n'
        "train_images = 150\npopulation_batches = 1\n"
    )
    code = "from training.cli import main; main()"
    script = tmp_path / "script.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    options = ["train", str(config), "--out", str(tmp_path / "run")]
    python = [sys.executable, str(script), *options, "--nproc", "2"]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = python if launcher == "nproc" else [*run, str(script), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 1
    assert load_checkpoint(tmp_path / "run").step == 3
