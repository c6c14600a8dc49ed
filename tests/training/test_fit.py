"""The training loop: seeded, resumable to the same numbers, and interruptible anywhere."""

import os
import signal
from pathlib import Path

import pytest
import torch

from training.checkpoint import FILE, Checkpoint, load_checkpoint
from training.config import Augmentation, TrainingConfig
from training.data import Dataset
from training.errors import Interrupted, UnusableInput
from training.evaluation import as_tensor, standardize
from training.fit import fit

CONFIG = TrainingConfig(
    name="short",
    network="fashion-cnn",  # it has dropout, whose randomness must be resumed too
    dataset="mnist",
    epochs=2,
    batch_size=40,
    train_images=200,
    augmentation=Augmentation(rotate=5, translate=1, flip=True, erase=3),
)


def _silent(checkpoint: Checkpoint, steps: int) -> None:
    """Reports to nobody."""


@pytest.fixture(scope="module")
def few(mnist: Dataset) -> Dataset:
    """MNIST with a test set of 500, so that an epoch ends quickly."""
    return Dataset(
        mnist.source,
        mnist.train_images,
        mnist.train_labels,
        mnist.test_images[:500],
        mnist.test_labels[:500],
    )


@pytest.fixture(scope="module")
def uninterrupted(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The run that nothing disturbed."""
    return fit(CONFIG, few, tmp_path_factory.mktemp("whole"), resume=False, report=_silent)[1]


def _assert_same_numbers(left: Checkpoint, right: Checkpoint) -> None:
    for name, value in left.model.items():
        assert torch.equal(value, right.model[name]), name
    without_time = [{k: v for k, v in row.items() if k != "seconds"} for row in left.history]
    assert without_time == [
        {k: v for k, v in row.items() if k != "seconds"} for row in right.history
    ]


@pytest.mark.parametrize("after", [1, 3, 5, 7])
def test_an_interrupted_run_resumes_to_the_same_numbers(
    after: int, few: Dataset, uninterrupted: Checkpoint, tmp_path: Path
) -> None:
    def interrupt(checkpoint: Checkpoint, steps: int) -> None:
        assert steps == 10
        if checkpoint.step == after:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"after step {after} of 10; go on with --resume"):
        fit(CONFIG, few, tmp_path, resume=False, report=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert load_checkpoint(tmp_path).step == after
    torch.rand(7)  # whatever else draws random numbers in between must not matter
    _, resumed = fit(CONFIG, few, tmp_path, resume=True, report=_silent)
    _assert_same_numbers(uninterrupted, resumed)


def test_another_seed_gives_another_network(few: Dataset, tmp_path: Path) -> None:
    _, one = fit(CONFIG.replace(epochs=1), few, tmp_path / "a", resume=False, report=_silent)
    _, two = fit(
        CONFIG.replace(epochs=1, seed=1), few, tmp_path / "b", resume=False, report=_silent
    )
    assert not torch.equal(one.model["classifier.weight"], two.model["classifier.weight"])


def test_fitting_leaves_the_callers_random_numbers_alone(few: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(CONFIG.replace(epochs=1), few, tmp_path, resume=False, report=_silent)
    assert torch.equal(torch.rand(3), expected)


def test_a_run_that_exists_is_not_overwritten(few: Dataset, tmp_path: Path) -> None:
    fit(CONFIG.replace(epochs=1), few, tmp_path, resume=False, report=_silent)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UnusableInput, match="there is a run already; go on with --resume"):
        fit(CONFIG.replace(epochs=1), few, tmp_path, resume=False, report=_silent)
    with pytest.raises(UnusableInput, match="has another configuration"):
        fit(CONFIG, few, tmp_path, resume=True, report=_silent)
    assert (tmp_path / FILE).read_bytes() == before


def test_too_few_images_for_a_batch_are_refused(few: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"expected at least 40 training images .*, got 39"):
        fit(CONFIG.replace(train_images=39), few, tmp_path, resume=False, report=_silent)


def test_the_network_learns_and_the_history_says_so(few: Dataset, tmp_path: Path) -> None:
    config = CONFIG.replace(network="mnist-cnn", train_images=2000, batch_size=50, epochs=1)
    network, checkpoint = fit(config, few, tmp_path, resume=False, report=_silent)
    network.eval()
    images = standardize(as_tensor(few.test_images).float() / 255, few.source)
    with torch.inference_mode():
        right = network(images).argmax(1) == torch.tensor(few.test_labels)
    assert checkpoint.history[-1]["test_accuracy"] == int(right.sum()) / 500 > 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a checkpoint, got"),
        (b"not a checkpoint", "expected a checkpoint, got"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UnusableInput, match=message):
        load_checkpoint(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"format": 1, "config": Payload()}, tmp_path / FILE)
    with pytest.raises(UnusableInput, match="expected a checkpoint, got"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_a_missing_or_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnusableInput, match=r"checkpoint\.pt: expected a checkpoint, found no file"
    ):
        load_checkpoint(tmp_path)
    torch.save({"format": 99}, tmp_path / FILE)
    with pytest.raises(UnusableInput, match="expected a checkpoint of format 1"):
        load_checkpoint(tmp_path)
